using System.Globalization;
using BnService.Core.Simd;

namespace BnService.Bench;

/// <summary>What the command line asks for.</summary>
internal sealed record BenchOptions
{
    public const string Usage = """
        dotnet run -c Release --project tests/Bench -- [--quick] [--threads 1,2] [--widths 512,256,128] [--case SUBSTRING] [--out FILE.md]
        dotnet run -c Release --project tests/Bench -- http [--quick] [--case SUBSTRING] [--out FILE.md]
        dotnet run -c Release --project tests/Bench -- store [--quick] [--case SUBSTRING] [--out FILE.md]
        dotnet run -c Release --project tests/Bench -- fair [--quick] [--out FILE.md]

          http        the service over HTTP, as it ships, against echo servers and FastAPI; without it, the kernels alone
          store       train-steps over HTTP with every engine and durability of the store, and with 1, 2 and 3 nodes
          fair        a small inference over HTTP, alone and while large batches are trained
          --quick     the sizes that the goals are about alone, few and short rounds: two minutes at most
          --threads   numbers of threads, of 1 and 2
          --widths    widths of our vectors in bits; the first one is compared with the peers (default: the widest that the machine has)
          --case      the cases whose name contains this, as in: nchw, 32x64x56x56; with http: 25MB, x4, json
          --out       also writes the tables into a file
        """;

    /// <summary>Whether the service is measured over HTTP, not the kernels.</summary>
    public bool Http { get; private init; }

    /// <summary>Whether the stores are measured, not the kernels.</summary>
    public bool Store { get; private init; }

    /// <summary>Whether fairness is measured, not the kernels.</summary>
    public bool Fair { get; private init; }

    /// <summary>Whether two minutes must do.</summary>
    public bool Quick { get; private init; }

    /// <summary>Numbers of threads.</summary>
    public int[] Threads { get; private init; } = [1, 2];

    /// <summary>Widths of our vectors; the first one is the one that is compared.</summary>
    public VectorWidth[] Widths { get; private init; } = [VectorWidths.Widest];

    /// <summary>Part of the names of the cases that are run.</summary>
    public string Case { get; private init; } = "";

    /// <summary>Where the tables go, beside the standard output.</summary>
    public string? Out { get; private init; }

    /// <summary>How many times each contender gets its turn.</summary>
    public int Rounds => Quick ? 7 : 15;

    /// <summary>How long a turn is.</summary>
    public double TurnMilliseconds => Quick ? 5 : 10;

    /// <summary>How long all cases may take; on a busy machine turns are cut short rather than this exceeded.</summary>
    public TimeSpan Most => Quick ? TimeSpan.FromSeconds(65) : TimeSpan.FromMinutes(10);

    /// <summary>Reads the arguments.</summary>
    /// <exception cref="FormatException">An argument is not understood.</exception>
    public static BenchOptions Parse(string[] arguments)
    {
        var options = new BenchOptions { Http = arguments is ["http", ..], Store = arguments is ["store", ..], Fair = arguments is ["fair", ..] };
        for (var i = options.Http || options.Store || options.Fair ? 1 : 0; i < arguments.Length; i++)
        {
            options = arguments[i] switch
            {
                "--quick" => options with { Quick = true },
                "--threads" or "--widths" when options.Http || options.Store || options.Fair => throw new FormatException($"{arguments[i]} is about the kernels alone"),
                "--threads" => options with { Threads = Numbers(Value()) },
                "--widths" => options with { Widths = [.. Numbers(Value()).Select(bits => (VectorWidth)bits)] },
                "--case" => options with { Case = Value() },
                "--out" => options with { Out = Value() },
                _ => throw new FormatException($"what is {arguments[i]}?"),
            };

            string Value() => ++i < arguments.Length ? arguments[i] : throw new FormatException($"{arguments[i - 1]} needs a value");
        }
        if (options.Threads.Any(threads => threads is not (1 or 2))) throw new FormatException("--threads takes 1, 2 or 1,2");
        if (options.Widths.FirstOrDefault(width => !VectorWidths.IsSupported(width)) is var missing and not 0)
            throw new FormatException($"this machine, as .NET sees it, has no vectors of {(int)missing} bits");
        return options;
    }

    private static int[] Numbers(string list)
    {
        try
        {
            return [.. list.Split(',').Select(number => int.Parse(number, NumberStyles.None, CultureInfo.InvariantCulture))];
        }
        catch (Exception exception) when (exception is FormatException or OverflowException)
        {
            throw new FormatException($"{list} is not a list of numbers");
        }
    }
}
