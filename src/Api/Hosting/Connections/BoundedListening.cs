using System.IO.Pipelines;
using System.Net;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace BnService.Api.Hosting.Connections;

/// <summary>The server's sockets, whose connections get their places before the server sees them.</summary>
internal sealed class BoundedListening(IServiceProvider services, ConnectionPlaces places)
    : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    private readonly SocketTransportFactory _sockets = ActivatorUtilities.CreateInstance<SocketTransportFactory>(services);

    public bool CanBind(EndPoint endpoint) => _sockets.CanBind(endpoint);

    public async ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        new Listener(await _sockets.BindAsync(endpoint, cancellationToken), places);

    private sealed class Listener(IConnectionListener sockets, ConnectionPlaces places) : IConnectionListener
    {
        // Closed connections hold objects until the pool has come to them: where it does not keep up, the kernel's queue waits.
        private const int MostClosing = 256, LooksForRoom = 50;
        private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(5);

        public EndPoint EndPoint => sockets.EndPoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (true)
            {
                for (var looks = 0; places.Open > places.Most + MostClosing && looks < LooksForRoom; looks++) await Task.Delay(
                    BetweenLooks, cancellationToken);
                if (places.HoldOff() is { Ticks: > 0 } wait) await Task.Delay(wait, cancellationToken);
                if (await sockets.AcceptAsync(cancellationToken) is not { } connection) return null;
                if (places.Admit(connection) is not { } place)
                {
                    _ = connection.DisposeAsync().AsTask();
                    continue;
                }
                connection.Features.Set(place);
                return new PlacedConnection(connection, place, places);
            }
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default) => sockets.UnbindAsync(cancellationToken);

        public ValueTask DisposeAsync() => sockets.DisposeAsync();
    }

    // A connection that gives its place back at its end.
    private sealed class PlacedConnection(ConnectionContext inner, ConnectionPlace place, ConnectionPlaces places)
        : ConnectionContext, IDuplexPipe
    {
        private IDuplexPipe? _transport;

        public PipeReader Input { get; } = new TurnReader(inner.Transport.Input, place);

        public PipeWriter Output => inner.Transport.Output;

        public override string ConnectionId
        {
            get => inner.ConnectionId;
            set => inner.ConnectionId = value;
        }

        public override IFeatureCollection Features => inner.Features;

        public override IDictionary<object, object?> Items
        {
            get => inner.Items;
            set => inner.Items = value;
        }

        public override IDuplexPipe Transport
        {
            get => _transport ?? this;
            set => _transport = value;
        }

        public override CancellationToken ConnectionClosed
        {
            get => inner.ConnectionClosed;
            set => inner.ConnectionClosed = value;
        }

        public override EndPoint? LocalEndPoint
        {
            get => inner.LocalEndPoint;
            set => inner.LocalEndPoint = value;
        }

        public override EndPoint? RemoteEndPoint
        {
            get => inner.RemoteEndPoint;
            set => inner.RemoteEndPoint = value;
        }

        public override void Abort(ConnectionAbortedException abortReason) => inner.Abort(abortReason);

        public override void Abort() => inner.Abort();

        public override async ValueTask DisposeAsync()
        {
            try
            {
                await inner.DisposeAsync();
                await base.DisposeAsync();
            }
            finally
            {
                places.Leave(place);
            }
        }
    }
}
