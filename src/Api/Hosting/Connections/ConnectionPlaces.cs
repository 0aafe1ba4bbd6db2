using System.Net.Sockets;
using System.Runtime.InteropServices;
using BnService.Api.Hosting.Limits;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Connections;

/// <summary>
/// The connections that are open, at most <c>Limits:MaxConnections</c>. A new one is always taken in: where there is no place left, it gets
/// that of the oldest guest, so that strangers who hold connections open lock nobody out. Connections on which a request was let in
/// leave a quarter of the places to new ones: beyond it the caller who has most of them loses one, if possible an idle one.
/// </summary>
internal sealed partial class ConnectionPlaces
{
    private const int PartForGuests = 4, FewOfOne = 8;
    private const long MemoryForOne = 256 << 10;

    // More than a request or two.
    private const long MuchHeld = 64 << 10;

    // Assemblies, the console, listeners, the store's files, connections to a database.
    private const int DescriptorsOfOthers = 384;

    private static readonly TimeSpan LeastStay = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan BetweenWarnings = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private readonly LinkedList<ConnectionPlace> _guests = [], _known = [];
    private readonly Dictionary<ulong, int> _guestsOf = [];
    private readonly Dictionary<Caller, int> _knownOf = [];
    private readonly TimeProvider _time;
    private readonly ILogger<ConnectionPlaces> _logger;
    private readonly TimeSpan _headTime;
    private long _accepted, _evicted, _refused, _timedOut, _warnedAt, _held;
    private int _open;

    public ConnectionPlaces(IOptions<LimitOptions> limits, TimeProvider time, ILogger<ConnectionPlaces> logger)
    {
        (Most, _headTime, _time, _logger) = (limits.Value.MaxConnections, limits.Value.HeadTime, time, logger);
        _warnedAt = time.GetTimestamp() - (long)(BetweenWarnings.TotalSeconds * time.TimestampFrequency);
    }

    /// <summary>The most connections where the configuration does not say.</summary>
    public static int Default { get; } =
        (int)Math.Clamp(Math.Min(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / MemoryForOne, Descriptors.Most - DescriptorsOfOthers), 16,
            1_000_000);

    /// <summary>The most connections.</summary>
    public int Most { get; }

    /// <summary>The turns of guests.</summary>
    public ReadingTurns GuestTurns { get; } = new();

    /// <summary>The turns of connections with many requests at once on which one was let in.</summary>
    public ReadingTurns KnownTurns { get; } = new();

    /// <summary>Connections that are open, those that were closed just now and are not yet cleared away included.</summary>
    public int Open => Volatile.Read(ref _open);

    /// <summary>Connections on which no request was let in.</summary>
    public int Guests => _guests.Count;

    /// <summary>Connections on which a request was let in.</summary>
    public int Known => _known.Count;

    /// <summary>Connections that were closed and have not yet given their memory back.</summary>
    public int Closing => Open - Guests - Known;

    /// <summary>Connections so far.</summary>
    public long Accepted => Interlocked.Read(ref _accepted);

    /// <summary>Connections that were closed to make room for new ones, or for what others have in memory.</summary>
    public long Evicted => Interlocked.Read(ref _evicted);

    /// <summary>Connections that were closed at once, because every other one was at work.</summary>
    public long Refused => Interlocked.Read(ref _refused);

    /// <summary>Connections on which no request came in time.</summary>
    public long TimedOut => Interlocked.Read(ref _timedOut);

    /// <summary>Bytes that requests take beside their bodies, on connections where there may be many at a time.</summary>
    public long Held => Interlocked.Read(ref _held);

    /// <summary>The clock's timestamp.</summary>
    public long Now => _time.GetTimestamp();

    /// <summary>
    /// How long not to take another connection in, so that the one which would be closed for it has had time to send a request.
    /// </summary>
    public TimeSpan HoldOff()
    {
        lock (_lock)
        {
            if (_guests.Count + _known.Count < Most || _guests.First is not { } first) return TimeSpan.Zero;
            var age = _time.GetElapsedTime(first.Value.AcceptedAt);
            return age < LeastStay ? LeastStay - age : TimeSpan.Zero;
        }
    }

    /// <summary>Takes a connection in, and closes another one for it where there is no place left.</summary>
    /// <returns>Its place; null where it was closed itself, because all others are at work.</returns>
    public ConnectionPlace? Admit(ConnectionContext connection)
    {
        var place = new ConnectionPlace(this, connection);
        ConnectionPlace? closed = null;
        lock (_lock)
        {
            if (_guests.Count + _known.Count >= Most || IsNearDescriptorLimit(connection))
            {
                closed = Victim(place.Network) ?? place;
                if (closed != place) Forget(closed);
            }
            if (closed != place) Add(place);
        }
        Interlocked.Increment(ref _accepted);
        if (closed is null) return place;
        Interlocked.Increment(ref closed == place ? ref _refused : ref _evicted);
        closed.Close("there are no places for connections left (Limits:MaxConnections)");
        Warn();
        return closed == place ? null : place;
    }

    /// <summary>A connection that was taken in is over, and its transport has given everything back.</summary>
    public void Leave(ConnectionPlace place)
    {
        Interlocked.Decrement(ref _open);
        lock (_lock) Forget(place);
    }

    /// <summary>
    /// Closes guests on which no request has come within <c>Limits:HeadTime</c>: a head that does not end, a handshake, or nothing at all.
    /// </summary>
    public void CloseSilent()
    {
        List<ConnectionPlace> silent = [];
        lock (_lock)
        {
            // In the order in which they came, whatever those before them have done since.
            for (var node = _guests.First; node is not null && _time.GetElapsedTime(node.Value.AcceptedAt) > _headTime;)
            {
                var place = node.Value;
                node = node.Next;
                if (place.HasAsked) continue;
                Forget(place);
                silent.Add(place);
            }
        }
        Interlocked.Add(ref _timedOut, silent.Count);
        foreach (var place in silent) place.Close("no request has come in time (Limits:HeadTime)");
    }

    /// <summary>
    /// Closes some connections for what they hold in memory: those of many requests, then guests, and only where asked for the ones that
    /// are longest at work.
    /// </summary>
    /// <param name="guestsOnly">Whether to leave those on which a request was let in.</param>
    /// <param name="ofManyRequests">Whether those of many requests at a time alone are to blame.</param>
    /// <returns>Whether there was one.</returns>
    public bool CloseSome(bool guestsOnly, bool ofManyRequests)
    {
        List<ConnectionPlace> closed = [];
        lock (_lock)
        {
            var most = Math.Max(8, (_guests.Count + _known.Count) / 8);
            closed.AddRange(_guests.Concat(guestsOnly ? [] : _known).Where(place => place.Held > MuchHeld).Take(most));
            closed.ForEach(Forget);
            var isEnough = closed.Count > 0 || ofManyRequests;
            while (!isEnough && closed.Count < most && (OldGuest() ?? (guestsOnly ? null : LongestKnown(idleOnly: false))) is { } place)
            {
                Forget(place);
                closed.Add(place);
            }
        }
        Interlocked.Add(ref _evicted, closed.Count);
        foreach (var place in closed) place.Close("connections hold too much memory (Memory:BudgetBytes)");
        if (closed.Count > 0) Warn();
        return closed.Count > 0;
    }

    /// <summary>Requests take more memory beside their bodies, or less.</summary>
    internal void Hold(long bytes) => Interlocked.Add(ref _held, bytes);

    /// <summary>Counts a guest among the known ones from now on.</summary>
    internal void Recognize(ConnectionPlace place)
    {
        ConnectionPlace? closed = null;
        lock (_lock)
        {
            // It may have been closed in this very moment.
            if (place.Node.List != _guests) return;
            Forget(place);
            _known.AddLast(place.Node);
            CollectionsMarshal.GetValueRefOrAddDefault(_knownOf, place.Owner!, out _)++;
            if (_known.Count > Most - (Most / PartForGuests)) closed = LongestKnown(idleOnly: true);
            if (closed is not null) Forget(closed);
        }
        if (closed is null) return;
        Interlocked.Increment(ref _evicted);
        closed.Close("there are no places for connections left (Limits:MaxConnections)");
    }

    private void Add(ConnectionPlace place)
    {
        Interlocked.Increment(ref _open);
        _guests.AddLast(place.Node);
        CollectionsMarshal.GetValueRefOrAddDefault(_guestsOf, place.Network, out _)++;
    }

    private void Forget(ConnectionPlace place)
    {
        var list = place.Node.List;
        list?.Remove(place.Node);
        if (list == _guests) Discount(_guestsOf, place.Network);
        if (list == _known) Discount(_knownOf, place.Owner!);
    }

    private static void Discount<T>(Dictionary<T, int> counts, T of)
        where T : notnull
    {
        if (--CollectionsMarshal.GetValueRefOrNullRef(counts, of) == 0) counts.Remove(of);
    }

    // A network that has most guests makes room for its own: whoever floods from one address pushes nobody else out.
    private ConnectionPlace? Victim(ulong network)
    {
        var first = _guests.First;
        if (_guestsOf.GetValueOrDefault(network) > _guests.Count / 2)
        {
            while (first is not null && first.Value.Network != network) first = first.Next;
        }
        return first?.Value ?? LongestKnown(idleOnly: true);
    }

    // One that has had time to send a request.
    private ConnectionPlace? OldGuest() => _guests.First is { Value: var first } && _time.GetElapsedTime(first.AcceptedAt) > LeastStay
        ? first : null;

    // Of the caller who has most, so that nobody loses theirs to another who opens ever more; of a key that has many also one at work.
    private ConnectionPlace? LongestKnown(bool idleOnly)
    {
        ConnectionPlace? longest = null;
        var best = (Count: 0, IsIdle: false);
        var many = Math.Max(FewOfOne, Most / FewOfOne);
        foreach (var place in _known)
        {
            var rank = (Count: _knownOf[place.Owner!], IsIdle: !place.IsBusy);
            if (idleOnly && !rank.IsIdle && !(place.Owner!.IsOne && rank.Count > many)) continue;
            var order = rank.CompareTo(best);
            if (order < 0 || (order == 0 && longest?.LastActive <= place.LastActive)) continue;
            (longest, best) = (place, rank);
        }
        return longest;
    }

    // The kernel gives the lowest number that is free: one near the limit says that all below it are taken, by whatever.
    private static bool IsNearDescriptorLimit(ConnectionContext connection) =>
        connection.Features.Get<IConnectionSocketFeature>()?.Socket is { } socket
            && NumberOf(socket) >= Descriptors.Most - Descriptors.Spare;

    private static long NumberOf(Socket socket)
    {
        try
        {
            return socket.Handle;
        }
        catch (ObjectDisposedException)
        {
            return 0;
        }
    }

    private void Warn()
    {
        var (now, before) = (_time.GetTimestamp(), Interlocked.Read(ref _warnedAt));
        if (_time.GetElapsedTime(before, now) < BetweenWarnings
            || Interlocked.CompareExchange(ref _warnedAt, now, before) != before) return;
        LogFull(_logger, Most, Guests, Known, Evicted, Refused);
    }

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "Connections are closed for new ones, or for the memory they hold: {Most} may be open (Limits:MaxConnections), " +
            "{Guests} have not sent a request that was let in, " +
            "{Known} have; so far {Evicted} were closed, and {Refused} new ones")]
    private static partial void LogFull(ILogger logger, int most, int guests, int known, long evicted, long refused);
}
