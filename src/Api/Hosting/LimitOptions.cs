using System.ComponentModel.DataAnnotations;
using BnService.Api.Hosting.Connections;
using BnService.Core.Normalizers;

namespace BnService.Api.Hosting;

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

    /// <summary>
    /// The most requests per second of one address that no key lets in, with ten seconds' worth at once; 0 for any number.
    /// </summary>
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
    /// The most bytes that are stored of the sessions which were created with one key: states, snapshots and large remembered answers. What
    /// a step or an import adds beyond it is refused, what only changes goes on. Of calls without a key only <c>Limits:MaxStoredBytes</c>
    /// counts.
    /// </summary>
    [Range(1L << 10, 1L << 50, ErrorMessage = "must be from 1024 to 2^50 bytes")]
    public long MaxBytesPerKey { get; init; } = 1L << 34;

    /// <summary>The most bytes that are stored of all sessions.</summary>
    [Range(1L << 10, 1L << 50, ErrorMessage = "must be from 1024 to 2^50 bytes")]
    public long MaxStoredBytes { get; init; } = 1L << 38;
}

/// <summary>Section <c>Shutdown</c>.</summary>
public sealed record ShutdownOptions
{
    /// <summary>How long running requests may take to finish after the service was told to stop.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00", ErrorMessage = "must be from 00:00:00 to 01:00:00")]
    public TimeSpan Drain { get; init; } = TimeSpan.FromSeconds(30);
}
