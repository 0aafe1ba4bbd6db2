using System.ComponentModel.DataAnnotations;
using BnService.Api.Hosting.Connections;
using BnService.Core;
using BnService.Core.Normalizers;
using BnService.Core.Simd;

namespace BnService.Api.Hosting;

/// <summary>Section <c>Storage</c>: where sessions are kept.</summary>
public sealed record StorageOptions : IValidatableObject
{
    /// <summary>
    /// The engine: <c>sqlite</c> keeps sessions in a file, <c>postgres</c> in a database that several nodes share, <c>memory</c> as long as
    /// the process lives.
    /// </summary>
    [AllowedValues("sqlite", "postgres", "memory", ErrorMessage = "must be sqlite, postgres or memory")]
    public string Engine { get; init; } = "sqlite";

    /// <summary>The file of <c>sqlite</c>.</summary>
    [MinLength(1, ErrorMessage = "must name a file")]
    public string Path { get; init; } = "data/bn.db";

    /// <summary>
    /// The database of <c>postgres</c>. Of several servers (<c>Host=a,b</c>) the one that takes writes is used, also after a failover.
    /// </summary>
    public string? ConnectionString { get; init; }

    /// <summary>
    /// <c>step</c>: what has been answered is on the disk. <c>interval</c>: it is with the operating system, or in the memory of the
    /// database server, which brings it to the disk a moment later: a power cut loses that moment, and so does the end of the database
    /// server's process where that is a crash; the end of this service's process loses nothing.
    /// </summary>
    [AllowedValues("step", "interval", ErrorMessage = "must be step or interval")]
    public string Durability { get; init; } = "step";

    /// <summary>
    /// The longest moment of <c>interval</c>, in milliseconds; with <c>postgres</c> it is three times the server's <c>wal_writer_delay</c>.
    /// </summary>
    [Range(1, 60_000, ErrorMessage = "must be from 1 to 60000 milliseconds")]
    public int IntervalMs { get; init; } = 100;

    /// <summary>How long inference may use a state before it asks whether another node has stored a newer one, in milliseconds.</summary>
    [Range(0, 60_000, ErrorMessage = "must be from 0 to 60000 milliseconds")]
    public int RefreshMs { get; init; } = 1000;

    /// <summary>Whether nodes tell each other of new versions (LISTEN and NOTIFY), where the engine can.</summary>
    public bool Notifications { get; init; } = true;

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Engine == "postgres" && string.IsNullOrWhiteSpace(ConnectionString))
            yield return new ValidationResult("must name the database where Storage:Engine is postgres", [nameof(ConnectionString)]);
    }
}

/// <summary>Section <c>Auth</c>: who may do what.</summary>
public sealed record AuthOptions
{
    /// <summary>
    /// <c>keys</c>: callers need a key, and as long as none is stored only this machine's own programs reach the service. <c>none</c>: whoever
    /// reaches the service may do everything.
    /// </summary>
    [AllowedValues("keys", "none", ErrorMessage = "must be keys or none")]
    public string Mode { get; init; } = "keys";

    /// <summary>
    /// The key of an admin that is kept where the configuration is, as in a secret of an orchestrator, and not in the storage; made by
    /// <c>keys generate</c>.
    /// </summary>
    [RegularExpression("bn_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", ErrorMessage = "must be a key as 'keys generate' prints it"), DataType(DataType.Password)]
    public string? AdminKey { get; init; }

    /// <summary>Whether <c>/metrics</c> needs no key.</summary>
    public bool OpenMetrics { get; init; }

    /// <summary>The most keys; nodes that share a database read all of them every second.</summary>
    [Range(1, 100_000, ErrorMessage = "must be from 1 to 100000")]
    public int MaxKeys { get; init; } = 1000;
}

/// <summary>Section <c>Sync</c>: synchronized batch normalization.</summary>
public sealed record SyncOptions
{
    /// <summary>How long the ranks of a step wait for each other.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "01:00:00", ErrorMessage = "must be from 00:00:00.010 to 01:00:00")]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>Section <c>Node</c>: this process among those that share a database.</summary>
public sealed record NodeOptions
{
    /// <summary>Its name, which is part of each <c>step_id</c>.</summary>
    // No pattern is held against what is empty.
    [Required(ErrorMessage = "must be 1 to 64 letters, digits, '.', '_' or '-'")]
    [RegularExpression("[A-Za-z0-9._-]{1,64}", ErrorMessage = "must be 1 to 64 letters, digits, '.', '_' or '-'")]
    public string Name { get; init; } = Environment.MachineName is { Length: <= 64 } machine && machine.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_') ? machine : "node";
}

/// <summary>Section <c>Sessions</c>.</summary>
public sealed record ResidencyOptions
{
    /// <summary>
    /// The most bytes that sessions take in memory: beyond it those leave that were not used for the longest time, and come back when they
    /// are used. With <c>Storage:Engine</c> memory, where there is nothing to come back from, no more are taken in, and of
    /// one key no more than are left to all others. Without it, 1 GiB, and no more than a quarter of what the container or the machine has
    /// (or of DOTNET_GCHeapHardLimit).
    /// </summary>
    [Range(1L << 10, 1L << 50, ErrorMessage = "must be from 1024 to 2^50 bytes")]
    public long MaxResidentBytes { get; init; } = Math.Clamp(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4, 1L << 20, 1L << 30);
}

/// <summary>Section <c>Retention</c>: the activations that train-steps leave behind for backward.</summary>
public sealed record RetentionOptions
{
    /// <summary>The most bytes over all sessions; the oldest step makes room first.</summary>
    [Range(0L, 1L << 50, ErrorMessage = "must be from 0 to 2^50 bytes")]
    public long MaxBytes { get; init; } = 1L << 30;

    /// <summary>How long a step is kept.</summary>
    [Range(typeof(TimeSpan), "00:00:00.001", "365.00:00:00", ErrorMessage = "must be from 00:00:00.001 to 365 days")]
    public TimeSpan TimeToLive { get; init; } = TimeSpan.FromMinutes(10);
}

/// <summary>Section <c>Memory</c>: tensors in flight and retained.</summary>
public sealed record MemoryOptions
{
    /// <summary>
    /// The most bytes; without it, half of what the runtime may have: a machine's memory, three quarters of a container's, or
    /// DOTNET_GCHeapHardLimit. Below 1 GiB it is a fifth to a third of the memory.
    /// </summary>
    [Range(1L << 20, 1L << 50, ErrorMessage = "must be from 2^20 to 2^50 bytes")]
    public long BudgetBytes { get; init; } = Math.Max(1L << 20, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2);

    /// <summary>How long a request waits for room before it is refused.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "00:05:00", ErrorMessage = "must be from 00:00:00 to 00:05:00")]
    public TimeSpan WaitTime { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long nothing must have happened before idle memory goes back to the operating system.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "01:00:00", ErrorMessage = "must be from 00:00:00.100 to 01:00:00")]
    public TimeSpan TrimAfter { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>Section <c>Limits</c>: what a client may ask for.</summary>
public sealed record LimitOptions
{
    /// <summary>The largest request body in bytes.</summary>
    [Range(1L << 10, 1L << 30, ErrorMessage = "must be from 1024 to 2^30 bytes")]
    public long MaxBodyBytes { get; init; } = 256L << 20;

    /// <summary>The most statistics of one session.</summary>
    [Range(1, 1 << 26, ErrorMessage = "must be from 1 to 2^26")]
    public int MaxFeatures { get; init; } = 1 << 20;

    /// <summary>The most statistics of one batch, for kinds that have some for each sample or row.</summary>
    [Range(1, 1 << 26, ErrorMessage = "must be from 1 to 2^26")]
    public int MaxStatistics { get; init; } = 1 << 22;

    /// <summary>The most snapshots of one session.</summary>
    [Range(1, 10_000, ErrorMessage = "must be from 1 to 10000")]
    public int MaxSnapshots { get; init; } = 1000;

    /// <summary>The most elements of one tensor.</summary>
    [Range(1, int.MaxValue, ErrorMessage = "must be 1 or more")]
    public int MaxElements { get; init; } = 1 << 27;

    /// <summary>The most dimensions of one tensor.</summary>
    [Range(2, Layout.MaxRank, ErrorMessage = "must be from 2 to 5")]
    public int MaxRank { get; init; } = Layout.MaxRank;

    /// <summary>The most requests per second of one caller; 0 for any number.</summary>
    [Range(0, 10_000_000, ErrorMessage = "must be from 0 to 10000000")]
    public int RequestsPerSecond { get; init; }

    /// <summary>The most requests of one caller at once; without it, as many as per second.</summary>
    [Range(1, 10_000_000, ErrorMessage = "must be from 1 to 10000000")]
    public int? RequestBurst { get; init; }

    /// <summary>The most requests per second of one address that no key lets in, with ten seconds' worth at once; 0 for any number.</summary>
    [Range(0, 10_000_000, ErrorMessage = "must be from 0 to 10000000")]
    public int WrongKeysPerSecond { get; init; } = 100;

    /// <summary>The most requests that are served at one time, without streams of events and ranks of synchronized steps.</summary>
    [Range(1, 1_000_000, ErrorMessage = "must be from 1 to 1000000")]
    public int MaxConcurrentRequests { get; init; } = 1000;

    /// <summary>The most of them of one key; without it, as many as are left to all others.</summary>
    [Range(1, 1_000_000, ErrorMessage = "must be from 1 to 1000000")]
    public int? MaxRequestsPerKey { get; init; }

    /// <summary>The most streams of events at one time.</summary>
    [Range(1, 1_000_000, ErrorMessage = "must be from 1 to 1000000")]
    public int MaxStreams { get; init; } = 1000;

    /// <summary>The most of them of one key.</summary>
    [Range(1, 1_000_000, ErrorMessage = "must be from 1 to 1000000")]
    public int MaxStreamsPerKey { get; init; } = 100;

    /// <summary>The most ranks of synchronized steps at one time, those included whose bodies still come.</summary>
    [Range(1, 1_000_000, ErrorMessage = "must be from 1 to 1000000")]
    public int MaxWaitingRanks { get; init; } = 4096;

    /// <summary>The most of them of one key; a group has up to 1,024.</summary>
    [Range(1, 1_000_000, ErrorMessage = "must be from 1 to 1000000")]
    public int MaxWaitingRanksPerKey { get; init; } = 1024;

    /// <summary>
    /// The most connections; a new one beyond them gets the place of the oldest on which no request was let in. Without it, one for each
    /// 256 KiB that the runtime may have, and no more than <c>ulimit -n</c> leaves beside 384 other descriptors.
    /// </summary>
    [Range(4, 1_000_000, ErrorMessage = "must be from 4 to 1000000")]
    public int MaxConnections { get; init; } = ConnectionPlaces.Default;

    /// <summary>How long a request's head may take, and how long a new connection may wait before it sends one.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "00:10:00", ErrorMessage = "must be from 00:00:01 to 00:10:00")]
    public TimeSpan HeadTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a connection may be idle between two requests.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "1.00:00:00", ErrorMessage = "must be from 00:00:01 to 1 day")]
    public TimeSpan IdleTime { get; init; } = TimeSpan.FromSeconds(130);

    /// <summary>The fewest bytes per second in which a body may come, on average; 0 for any rate.</summary>
    [Range(0, 1 << 30, ErrorMessage = "must be from 0 to 2^30")]
    public int MinBytesPerSecond { get; init; } = 240;

    /// <summary>How long a body may come more slowly than that.</summary>
    [Range(typeof(TimeSpan), "00:00:02", "01:00:00", ErrorMessage = "must be from 00:00:02 to 01:00:00")]
    public TimeSpan MinRateGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a client may take nothing of an answer that waits for it, or less than <c>Limits:MinBytesPerSecond</c>.</summary>
    [Range(typeof(TimeSpan), "00:00:01", "01:00:00", ErrorMessage = "must be from 00:00:01 to 01:00:00")]
    public TimeSpan UnreadTime { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>The most bytes of a request's headers together.</summary>
    [Range(1 << 10, 1 << 18, ErrorMessage = "must be from 1024 to 2^18 bytes")]
    public int MaxHeaderBytes { get; init; } = 32 << 10;

    /// <summary>How long a request may take until it is answered.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "1.00:00:00", ErrorMessage = "must be from 00:00:00.100 to 1 day")]
    public TimeSpan RequestTime { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>The most sessions.</summary>
    [Range(1, int.MaxValue, ErrorMessage = "must be 1 or more")]
    public int MaxSessions { get; init; } = 1_000_000;

    /// <summary>The most sessions that were created with one key.</summary>
    [Range(1, int.MaxValue, ErrorMessage = "must be 1 or more")]
    public int MaxSessionsPerKey { get; init; } = 100_000;

    /// <summary>
    /// The most bytes that are stored of the sessions which were created with one key: states, snapshots and large remembered answers. What a
    /// step or an import adds beyond it is refused, what only changes goes on. Of calls without a key only <c>Limits:MaxStoredBytes</c> counts.
    /// </summary>
    [Range(1L << 10, 1L << 50, ErrorMessage = "must be from 1024 to 2^50 bytes")]
    public long MaxBytesPerKey { get; init; } = 1L << 34;

    /// <summary>The most bytes that are stored of all sessions.</summary>
    [Range(1L << 10, 1L << 50, ErrorMessage = "must be from 1024 to 2^50 bytes")]
    public long MaxStoredBytes { get; init; } = 1L << 38;
}

/// <summary>Section <c>Compute</c>: with what batches are normalized.</summary>
public sealed record ComputeOptions : IValidatableObject
{
    /// <summary>The largest number of threads that work on one batch; without it, the cores that the process may use.</summary>
    [Range(1, 1024, ErrorMessage = "must be from 1 to 1024")]
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>The most batches of 1 MiB or more that are computed at once; without it, all cores but one, or the only one.</summary>
    [Range(1, 1024, ErrorMessage = "must be from 1 to 1024")]
    public int LargeBatches { get; init; } = Math.Max(1, Environment.ProcessorCount - 1);

    /// <summary>Width of the vectors: <c>auto</c>, or <c>512</c>, <c>256</c>, <c>128</c>, <c>1</c>.</summary>
    [AllowedValues("auto", "512", "256", "128", "1", ErrorMessage = "must be auto, 512, 256, 128 or 1")]
    public string Width { get; init; } = "auto";

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Width != "auto" && !VectorWidths.IsSupported(Enum.Parse<VectorWidth>(Width)))
            yield return new ValidationResult($"must be auto or at most {(int)VectorWidths.Widest}: this machine has no wider vectors", [nameof(Width)]);
    }

    /// <summary>The settings of the normalization core.</summary>
    public ComputeSettings ToSettings() => new(Width == "auto" ? VectorWidths.Widest : Enum.Parse<VectorWidth>(Width), Threads);
}

/// <summary>Section <c>Shutdown</c>.</summary>
public sealed record ShutdownOptions
{
    /// <summary>How long running requests may take to finish after the service was told to stop.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00", ErrorMessage = "must be from 00:00:00 to 01:00:00")]
    public TimeSpan Drain { get; init; } = TimeSpan.FromSeconds(30);
}
