using BnService.Bench.Cases;

namespace BnService.Bench.Http;

/// <summary>One size of body and number of connections.</summary>
/// <param name="Rows">Rows of x.</param>
/// <param name="Connections">How many clients ask at the same time.</param>
/// <param name="IsJson">Whether x travels as JSON, not as bytes.</param>
internal sealed record HttpCase(int Rows, int Connections, bool IsJson = false)
{
    /// <summary>Columns of x.</summary>
    public const int Features = 1024;

    private const int RowBytes = Features * sizeof(float);

    /// <summary>The cases that are run.</summary>
    public static IReadOnlyList<HttpCase> All { get; } =
    [
        .. new[] { 1, 16, 256, 6400 }.SelectMany(rows => new[] { new HttpCase(rows, 1), new HttpCase(rows, 4) }),
        new(256, 1, IsJson: true),
    ];

    /// <summary>How the case is called, in plain letters so that it can be typed.</summary>
    public string Name => IsJson ? $"json {Rows}x{Features} x{Connections}" : $"{Size} x{Connections}";

    /// <summary>Bytes of x, as floats.</summary>
    public long Bytes => (long)Rows * RowBytes;

    /// <summary>Whether a batch has statistics: of one row they are undefined.</summary>
    public bool CanTrain => Rows > 1 && !IsJson;

    /// <summary>The tensor as the kernels' bench has it.</summary>
    public BenchCase Tensor => new(Layout.Dense, Rows, Features);

    private string Size => Bytes < 1 << 20 ? $"{Bytes >> 10}KB" : $"{Bytes >> 20}MB";
}
