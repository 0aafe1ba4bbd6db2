using System.Globalization;
using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// What nodes tell each other of new versions, with LISTEN and NOTIFY: who has been told is sooner up to date, and who has not finds out
/// by asking. Off where the options say so, or the engine cannot.
/// </summary>
internal sealed partial class PostgresNotifications(PostgresDatabase database, bool isWanted, ILogger logger, TimeProvider time)
    : IAsyncDisposable
{
    private const string Channel = "bn_versions";
    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(30), ShortestPause = TimeSpan.FromMilliseconds(50);

    // Tells this node's notifications from the others'.
    private readonly string _node = Guid.NewGuid().ToString("N");
    private readonly CancellationTokenSource _isStopped = new();
    private Task _listening = Task.CompletedTask;
    private bool _isOn;

    /// <summary>Raised when another node has stored a version of a session: its id and the version, 0 where it was deleted.</summary>
    public event Action<string, long>? Received;

    /// <summary>The expression of a statement that tells the other nodes of a version when the transaction is committed.</summary>
    /// <param name="sessionId">The session.</param>
    /// <param name="version">Its version; 0 where it is deleted.</param>
    public SqlStatement Notice(string sessionId, long version)
    {
        if (!_isOn) return $"1";
        var payload = string.Create(CultureInfo.InvariantCulture, $"{_node} {version} {sessionId}");
        return $"pg_notify({Channel}, {payload})";
    }

    /// <summary>Begins to listen, if that is wanted and the engine can.</summary>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        if (!isWanted || _isOn) return;
        try
        {
            var connection = await SubscribeAsync(cancellationToken);
            _isOn = true;
            _listening = ListenAsync(connection);
        }
        catch (PostgresException exception) when (!PostgresFailure.MayPass(exception))
        {
            LogUnsupported(logger, exception.MessageText);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _isStopped.CancelAsync();
        await _listening;
    }

    private async Task<NpgsqlConnection> SubscribeAsync(CancellationToken cancellationToken)
    {
        var connection = await database.ConnectAsync(cancellationToken);
        try
        {
            connection.Notification += (_, notification) => Receive(notification.Payload);
            await database.ExecuteAsync(connection, $"LISTEN {Channel}");
            // An engine may know the one and not the other. Nobody reads an empty message.
            await database.ExecuteAsync(connection, $"SELECT pg_notify('{Channel}', '')");
            return connection;
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    private async Task ListenAsync(NpgsqlConnection? connection)
    {
        while (connection is not null)
        {
            await using (connection)
            {
                try
                {
                    await ReceiveAsync(connection);
                }
                catch (Exception exception)
                {
                    if (!_isStopped.IsCancellationRequested) LogLost(logger, exception.Message);
                }
            }
            connection = await SubscribeAgainAsync();
        }
    }

    // Null when the service stops.
    private async Task<NpgsqlConnection?> SubscribeAgainAsync()
    {
        for (var pause = ShortestPause; !_isStopped.IsCancellationRequested; pause = PostgresDatabase.Longer(pause))
        {
            try
            {
                var connection = await SubscribeAsync(_isStopped.Token);
                LogBack(logger);
                return connection;
            }
            catch (Exception)
            {
                // It was said that they are interrupted.
                await Task.Delay(pause, time, _isStopped.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
        return null;
    }

    // Until the connection is lost or the service stops.
    private async Task ReceiveAsync(NpgsqlConnection connection)
    {
        while (true)
        {
            if (await connection.WaitAsync(Heartbeat, _isStopped.Token)) continue;
            // A connection that was cut silently says nothing, which is not the same as nothing to say.
            await database.ExecuteAsync(connection, "SELECT 1");
            // Nor does one to a server that is the primary no more, and lives on.
            await PostgresHosts.RequireWritableAsync(connection, _isStopped.Token).WaitAsync(database.Patience, time);
        }
    }

    private void Receive(string payload)
    {
        if (payload.Split(' ', 3) is [var node, var number, var sessionId] && node != _node
            && long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var version))
            Received?.Invoke(sessionId, version);
    }

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "The database has no LISTEN and NOTIFY ({Cause}): nodes find out about new versions by asking")]
    private static partial void LogUnsupported(ILogger logger, string cause);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Notifications of the database are interrupted: {Cause}")]
    private static partial void LogLost(ILogger logger, string cause);

    [LoggerMessage(Level = LogLevel.Information, Message = "Notifications of the database arrive again")]
    private static partial void LogBack(ILogger logger);
}
