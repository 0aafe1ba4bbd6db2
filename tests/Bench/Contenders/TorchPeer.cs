using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using BnService.Bench.Cases;
using BnService.Bench.Timing;

namespace BnService.Bench.Contenders;

/// <summary>PyTorch in a child process that lives as long as the run and takes one command at a time (Python/torch_peer.py).</summary>
internal sealed unsafe class TorchPeer : IDisposable
{
    private readonly Process _process;
    private readonly string _exchange = Path.GetTempFileName();

    private TorchPeer(string name, Process process, string version) => (Name, _process, Version) = (name, process, version);

    /// <summary>Its name in the cells.</summary>
    public string Name { get; }

    /// <summary>What it says that it is.</summary>
    public string Version { get; }

    /// <summary>Seconds of processor time that it took so far.</summary>
    public double Seconds
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime.TotalSeconds;
        }
    }

    /// <summary>Starts PyTorch; null where it cannot be had.</summary>
    /// <param name="name">Its name in the cells.</param>
    /// <param name="reusesMemory">
    /// Whether freed tensors are kept and given out again, on huge pages as ours are, or go the allocator's default way.
    /// PyTorch 1.13's batch normalization cannot write into memory that the caller gives, so its allocator is told instead.
    /// </param>
    public static TorchPeer? Start(string name, bool reusesMemory)
    {
        var start = new ProcessStartInfo(PeerFiles.Python, [PeerFiles.TorchScript])
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        if (reusesMemory)
            start.Environment["GLIBC_TUNABLES"] = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1";
        try
        {
            var process = Process.Start(start)!;
            if (process.StandardOutput.ReadLine() is { } version) return new TorchPeer(name, process, version);
            process.Dispose();
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // No such Python: as good as no PyTorch.
        }
        return null;
    }

    /// <summary>Gives it the tensors of a case.</summary>
    public void Load(CaseData data)
    {
        var benchCase = data.Case;
        using (var file = File.Create(_exchange))
        {
            Write(file, data.Parameters, 2 * benchCase.C);
            Write(file, data.RunningStatistics, 2 * benchCase.C);
            Write(file, data.X(0), benchCase.Count);
            Write(file, data.Dy(0), benchCase.Count);
        }
        var dimensions = benchCase.Layout == Layout.Dense
            ? $"{benchCase.N} {benchCase.C}"
            : $"{benchCase.N} {benchCase.C} {benchCase.Height} {benchCase.Width}";
        _ = Ask($"load {benchCase.Layout} {benchCase.Sets} {_exchange} {dimensions}");
    }

    /// <summary>Why its result cannot be right; null where it can.</summary>
    public string? Flaw(CaseData data, Operation operation, int threads)
    {
        data.SpoilResult();
        _ = Ask($"check {operation} {threads} {_exchange}");
        using (var file = File.OpenRead(_exchange))
            file.ReadExactly(MemoryMarshal.AsBytes(new Span<float>(data.Result(0), data.Case.Count)));
        return data.Reference.PeerFlaw(operation, data.Result(0));
    }

    /// <summary>The contender in a cell.</summary>
    public Contender In(Operation operation, int threads) => new Turn(this, operation, threads);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited) _process.StandardInput.WriteLine("quit");
        _process.WaitForExit();
        _process.Dispose();
        File.Delete(_exchange);
    }

    private static void Write(FileStream file, float* values, int count) =>
        file.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<float>(values, count)));

    private string Ask(string command)
    {
        _process.StandardInput.WriteLine(command);
        _process.StandardInput.Flush();
        return _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"{Name} ended at the command: {command}");
    }

    private sealed class Turn(TorchPeer peer, Operation operation, int threads) : Contender(peer.Name)
    {
        public override void Measure(double milliseconds)
        {
            var answer = peer.Ask(string.Create(CultureInfo.InvariantCulture, $"time {operation} {threads} {milliseconds}"));
            foreach (var sample in answer.Split(' ')) Samples.Add(double.Parse(sample, CultureInfo.InvariantCulture));
            if (threads > 1) OpenMpCall.Settle();
        }
    }
}
