using System.Net;
using System.Net.Sockets;
using System.Text;

namespace BnService.EndToEnd.Harness;

/// <summary>What the wire does with the commits that come along.</summary>
public enum Cut
{
    /// <summary>Carries them, and the answers.</summary>
    None,

    /// <summary>Is cut before the next commit has reached the database.</summary>
    BeforeCommit,

    /// <summary>Is cut when the database has made the next commit and answers.</summary>
    AfterCommit,
}

/// <summary>A wire to the database that can be cut at the moment that matters, and that lets nobody through while it is.</summary>
internal sealed class CutWire : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly List<Socket> _waiting = [];
    private readonly int _target;
    private volatile bool _isDark;
    private Cut _next;

    private CutWire(int target) => _target = target;

    /// <summary>A wire to a port.</summary>
    public static CutWire To(int target)
    {
        var wire = new CutWire(target);
        wire._listener.Start();
        _ = wire.AcceptAsync();
        return wire;
    }

    /// <summary>The port on which the wire begins.</summary>
    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <summary>Whether nobody gets through.</summary>
    public bool IsDown { get; set; }

    /// <summary>Whether it has been cut where it was to be, and stays so until <see cref="IsDown"/> is false again.</summary>
    public bool IsCut { get; private set; }

    /// <summary>Whether what the database says is held back.</summary>
    public bool IsMute { get; set; }

    /// <summary>All packets are dropped from now on: nobody hears anything any more, and who connects waits.</summary>
    public void Darken()
    {
        _isDark = true;
        // Linux drops who comes when as many wait to be taken in as may: of these one is taken in, and the others wait.
        _listener.Server.Listen(0);
        for (var i = 0; i < 4; i++)
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            _waiting.Add(socket);
            _ = socket.ConnectAsync(IPAddress.Loopback, Port).ContinueWith(_ => { }, TaskScheduler.Default);
        }
    }

    /// <summary>The packets come through again.</summary>
    public void Light()
    {
        _listener.Server.Listen(512);
        _isDark = false;
        foreach (var socket in _waiting) socket.Dispose();
        _waiting.Clear();
    }

    /// <summary>Cuts the wire at the next commit.</summary>
    public void CutAtNext(Cut cut)
    {
        IsCut = false;
        _next = cut;
    }

    public void Dispose()
    {
        foreach (var socket in _waiting) socket.Dispose();
        _listener.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = CarryAsync(await _listener.AcceptTcpClientAsync());
                await LightAsync();
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The test is over.
        }
    }

    private async Task CarryAsync(TcpClient client)
    {
        using var near = client;
        using var far = new TcpClient();
        try
        {
            if (IsDown) return;
            await LightAsync();
            await far.ConnectAsync(IPAddress.Loopback, _target);
            await Task.WhenAny(AskAsync(near.GetStream(), far.GetStream()), AnswerAsync(far.GetStream(), near.GetStream()));
        }
        catch (Exception exception) when (exception is IOException or SocketException)
        {
            // One of the ends is gone, and the other goes with it.
        }
    }

    private async Task AskAsync(NetworkStream near, NetworkStream far)
    {
        var buffer = new byte[1 << 16];
        for (int count; (count = await near.ReadAsync(buffer)) > 0;)
        {
            await LightAsync();
            var cut = Encoding.Latin1.GetString(buffer, 0, count).Contains("COMMIT", StringComparison.Ordinal) ? _next : Cut.None;
            if (cut == Cut.None)
            {
                await far.WriteAsync(buffer.AsMemory(0, count));
                continue;
            }
            (_next, IsDown) = (Cut.None, true);
            if (cut == Cut.AfterCommit)
            {
                // Nothing comes back while it is down; the answers are taken for long over by then.
                await far.WriteAsync(buffer.AsMemory(0, count));
                await Task.Delay(500);
            }
            IsCut = true;
            return;
        }
    }

    private async Task AnswerAsync(NetworkStream far, NetworkStream near)
    {
        var buffer = new byte[1 << 16];
        for (int count; (count = await far.ReadAsync(buffer)) > 0;)
        {
            while (IsMute || _isDark) await Task.Delay(10);
            if (!IsDown) await near.WriteAsync(buffer.AsMemory(0, count));
        }
    }

    private async Task LightAsync()
    {
        while (_isDark) await Task.Delay(10);
    }
}
