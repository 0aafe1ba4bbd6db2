using System.Net;
using BnService.Api.Hosting.Limits;
using Microsoft.AspNetCore.Connections;

namespace BnService.Api.Hosting.Connections;

/// <summary>
/// One connection among those that are open. It is a guest until a request on it was let in; when connections run out, guests are closed
/// first, the oldest of them before the others.
/// </summary>
internal sealed class ConnectionPlace
{
    private readonly ConnectionPlaces _places;
    private readonly ConnectionContext _connection;
    private int _running;
    private long _lastActive, _held;
    private volatile Caller? _owner;
    private volatile bool _hasAsked, _hasStreams;

    public ConnectionPlace(ConnectionPlaces places, ConnectionContext connection)
    {
        (_places, _connection, Network, AcceptedAt) = (places, connection,
            CallerNetwork.Of((connection.RemoteEndPoint as IPEndPoint)?.Address), places.Now);
        _lastActive = AcceptedAt;
        Node = new LinkedListNode<ConnectionPlace>(this);
    }

    /// <summary>
    /// The IPv4 address, or the /64 network of an IPv6 address, which one caller may have as a whole; 0 where there is none.
    /// </summary>
    public ulong Network { get; }

    /// <summary>When it was accepted.</summary>
    public long AcceptedAt { get; }

    /// <summary>Its place in a list of the table.</summary>
    public LinkedListNode<ConnectionPlace> Node { get; }

    /// <summary>Who sent the first request on it that was let in; null where there was none.</summary>
    public Caller? Owner => _owner;

    /// <summary>Whether a request has ever come on it.</summary>
    public bool HasAsked => _hasAsked;

    /// <summary>Whether a request is being answered.</summary>
    public bool IsBusy => Volatile.Read(ref _running) > 0;

    /// <summary>Whether a request on it was let in.</summary>
    public bool IsKnown => _owner is not null;

    /// <summary>In whose turns it is read; null where it need not wait.</summary>
    public ReadingTurns? Turns => !IsKnown ? _places.GuestTurns : _hasStreams ? _places.KnownTurns : null;

    /// <summary>When a request on it began or ended last, or when it was accepted.</summary>
    public long LastActive => Volatile.Read(ref _lastActive);

    /// <summary>The place of the connection that a request came on; null where there is no connection, as in tests.</summary>
    public static ConnectionPlace? Of(HttpContext context) => context.Features.Get<ConnectionPlace>();

    /// <summary>A request has come.</summary>
    public void Begin()
    {
        Interlocked.Increment(ref _running);
        _hasAsked = true;
        Volatile.Write(ref _lastActive, _places.Now);
    }

    /// <summary>A request was answered, or given up.</summary>
    public void End()
    {
        Volatile.Write(ref _lastActive, _places.Now);
        Interlocked.Decrement(ref _running);
    }

    /// <summary>Bytes that its requests take beside their bodies, where there may be many at a time.</summary>
    public long Held => Interlocked.Read(ref _held);

    /// <summary>One of many requests at a time takes memory beside its body, or gives it back.</summary>
    /// <returns>All that they take.</returns>
    public long Hold(long bytes)
    {
        _hasStreams = true;
        _places.Hold(bytes);
        return Interlocked.Add(ref _held, bytes);
    }

    /// <summary>A request was let in: the connection is no guest any more.</summary>
    public void Recognize(Caller owner)
    {
        if (_owner is not null) return;
        _owner = owner;
        _places.Recognize(this);
    }

    /// <summary>Closes the connection at once; its descriptor is free when this returns.</summary>
    public void Close(string reason) => _connection.Abort(new ConnectionAbortedException(reason));
}
