using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// The database and the connections to it: waited for at the start, asked with bounded patience, and found again when it was away.
/// </summary>
internal sealed partial class PostgresDatabase : IAsyncDisposable
{
    // What the connection string says comes after these and so goes before them. Who takes too long is told to stop, and not waited for
    // (-1). Nothing here changes a connection's settings, which need not be put back. There are few statements, which are prepared: that
    // doubles the rate of those that remember answers. More connections do not make a database faster, and several nodes share it.
    private const string Defaults =
        "Timeout=3;Command Timeout=5;Cancellation Timeout=-1;No Reset On Close=true;Maximum Pool Size=40;"
        + "Max Auto Prepare=40;Auto Prepare Min Usages=2;Application Name=BnService;";

    // Connections that questions leave to writes, to notifications and to who tries whether the database is there.
    private const int ConnectionsBeside = PostgresWriter.MostUnderWay + 4;

    // Npgsql's own limit for a command would block threads of the pool (PostgresCall): it is there for who does not keep to this one.
    private const int SecondsBehind = 60;

    // As long as a timer can wait, for who wants no limit.
    private static readonly TimeSpan Unlimited = TimeSpan.FromDays(40);

    private static readonly TimeSpan PatienceAtStart = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan ShortestPause = TimeSpan.FromMilliseconds(50), LongestPause = TimeSpan.FromSeconds(1);

    // How often the primary is looked for anew, and how often it is said that the database takes no writes, at most.
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(1), BetweenWords = TimeSpan.FromSeconds(10);

    private readonly PostgresHosts _hosts;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly string _name;
    private readonly PostgresSilence _silence;
    private readonly SemaphoreSlim _places;
    private int _isAway;
    private long _lookedAt, _saidAt;

    /// <param name="options">Name the database.</param>
    /// <exception cref="StorageUnusableException">The connection string cannot be read.</exception>
    public PostgresDatabase(StorageOptions options, ILogger logger, TimeProvider time)
    {
        (_logger, _time) = (logger, time);
        try
        {
            var builder = new NpgsqlDataSourceBuilder(Defaults + options.ConnectionString);
            var settings = builder.ConnectionStringBuilder;
            // A host among several may have a port of its own.
            var port = settings.Host?.Contains(':', StringComparison.Ordinal) == true ? "" : $":{settings.Port}";
            _name = $"'{settings.Database ?? settings.Username}' at {settings.Host}{port}";
            Patience = settings is { Timeout: 0 } or { CommandTimeout: 0 } ? Unlimited
                : TimeSpan.FromSeconds(Math.Max(settings.Timeout, settings.CommandTimeout));
            if (settings.CommandTimeout > 0) settings.CommandTimeout += SecondsBehind;
            _places = new SemaphoreSlim(Math.Max(1, settings.MaxPoolSize - ConnectionsBeside));
            _hosts = new PostgresHosts(builder);
            _silence = new PostgresSilence(() => WithinAsync(async call =>
            {
                await using var connection = await ConnectAsync(CancellationToken.None);
                return await ExecuteAsync(call, connection, "SELECT 1");
            }, Patience), time);
        }
        catch (Exception exception) when (
            exception is ArgumentException or FormatException or KeyNotFoundException or InvalidOperationException
            or NotSupportedException or InvalidCastException or OverflowException)
        {
            // The cause may quote a part of the password, where that has a semicolon in it.
            throw new StorageUnusableException(
                "Storage:ConnectionString cannot be read: it must be of the form 'Host=…;Port=…;Database=…;Username=…;Password=…', "
                + "with values in quotes where they have a semicolon in them");
        }
    }

    /// <summary>How long anything that is short is waited for at the most.</summary>
    public TimeSpan Patience { get; }

    /// <summary>Whether it is known not to answer.</summary>
    public bool IsSilent => _silence.IsSilent;

    /// <summary>Waits for the database, and prepares it.</summary>
    /// <param name="prepare">What is done with the first connection; begun again where it fails for a reason that may pass.</param>
    /// <exception cref="StorageUnusableException">It cannot be reached or used.</exception>
    public async Task OpenAsync(Func<NpgsqlConnection, Task> prepare, CancellationToken cancellationToken)
    {
        var begun = _time.GetTimestamp();
        for (var pause = ShortestPause; ; pause = Longer(pause))
        {
            try
            {
                await using var connection = await _hosts.ConnectAsync(cancellationToken);
                await PostgresHosts.RequireWritableAsync(connection, cancellationToken);
                await prepare(connection);
                return;
            }
            catch (Exception exception) when (PostgresFailure.IsOfDatabase(exception))
            {
                _hosts.LookAgain(exception);
                var cause = _hosts.CauseOf(exception);
                if (!PostgresFailure.MayPass(exception) || _time.GetElapsedTime(begun) > PatienceAtStart)
                    throw new StorageUnusableException($"the database {_name} of Storage:ConnectionString cannot be used: {cause}");
                if (pause == ShortestPause) LogWaiting(_logger, _name, cause);
            }
            await Task.Delay(pause, _time, cancellationToken);
        }
    }

    /// <summary>A connection; the caller's own to dispose of.</summary>
    public ValueTask<NpgsqlConnection> ConnectAsync(CancellationToken cancellationToken) => _hosts.ConnectAsync(cancellationToken);

    /// <summary>Asks something that may be asked twice.</summary>
    /// <param name="batch">Makes the question.</param>
    /// <param name="read">Reads the answer.</param>
    /// <exception cref="StorageUnavailableException">The database does not answer.</exception>
    public async ValueTask<T> AskAsync<T>(
        Func<NpgsqlConnection, NpgsqlBatch> batch, Func<NpgsqlDataReader, Task<T>> read, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return await AskAgainAsync(batch, read).WaitAsync(cancellationToken);
    }

    /// <summary>Executes a statement on a connection that the caller keeps; as long as anything is waited for.</summary>
    public Task ExecuteAsync(NpgsqlConnection connection, string sql) => WithinAsync(call => ExecuteAsync(call, connection, sql), Patience);

    /// <summary>Does something with the database and waits for it, but not for ever.</summary>
    /// <param name="run">What; it sends what it has to send with the call, and goes on when it is not waited for any more.</param>
    /// <param name="patience">How long it is waited for.</param>
    /// <exception cref="TimeoutException">That was not long enough.</exception>
    public async Task<T> WithinAsync<T>(Func<PostgresCall, Task<T>> run, TimeSpan patience)
    {
        var (call, begun) = (new PostgresCall(), _time.GetTimestamp());
        var running = run(call);
        try
        {
            var answer = await running.WaitAsync(patience, _time);
            Answered();
            return answer;
        }
        catch (Exception exception) when (PostgresFailure.IsOfDatabase(exception))
        {
            if (!running.IsCompleted) call.GiveUp(running);
            // Whatever it says of it: who is told at once that there is nothing can ask again.
            var isSlow = PostgresFailure.IsTimeout(exception) || _time.GetElapsedTime(begun) > LongestPause;
            if (exception is PostgresException) _silence.Heard();
            // None of the connections that are idle would bring an answer.
            else if (isSlow && _silence.HasMissed(begun)) _hosts.Clear();
            if (IsDue(ref _lookedAt, BetweenLooks)) _hosts.LookAgain(exception);
            throw;
        }
    }

    /// <summary>Waits until a database that is silent answers again, but not for long.</summary>
    /// <returns>Whether it does, or was not silent.</returns>
    public Task<bool> AnswersWithinAsync(TimeSpan patience) => _silence.EndsWithinAsync(patience);

    /// <summary>Takes note that the database has answered.</summary>
    public void Answered()
    {
        _silence.Heard();
        if (Volatile.Read(ref _isAway) != 0 && Interlocked.Exchange(ref _isAway, 0) != 0) LogBack(_logger, _name);
    }

    /// <summary>Takes note of a failure: it is logged, but an absence of the database only once.</summary>
    public void Failed(Exception exception)
    {
        if (PostgresFailure.IsReadOnly(exception))
        {
            if (IsDue(ref _saidAt, BetweenWords)) LogRefused(_logger, _name, exception.Message);
        }
        else if (PostgresFailure.IsRefusal(exception) && !PostgresFailure.MayPass(exception)) LogRefused(_logger, _name, exception.Message);
        else if (!PostgresFailure.IsCollision(exception) && Interlocked.Exchange(ref _isAway, 1) == 0)
            LogAway(_logger, _name, exception.InnerException?.Message ?? exception.Message);
    }

    /// <summary>Twice as long a pause, within bounds.</summary>
    public static TimeSpan Longer(TimeSpan pause) => pause * 2 < LongestPause ? pause * 2 : LongestPause;

    public ValueTask DisposeAsync()
    {
        // Nobody listens any more.
        _silence.Heard();
        return _hosts.DisposeAsync();
    }

    // True for one of those who ask within a time.
    private bool IsDue(ref long lastAt, TimeSpan between)
    {
        var (now, last) = (_time.GetTimestamp(), Interlocked.Read(ref lastAt));
        return (last == 0 || _time.GetElapsedTime(last, now) >= between) && Interlocked.CompareExchange(ref lastAt, now, last) == last;
    }

    private async Task<T> AskAgainAsync<T>(Func<NpgsqlConnection, NpgsqlBatch> makeBatch, Func<NpgsqlDataReader, Task<T>> read)
    {
        for (var isAgain = false; ; isAgain = true)
        {
            if (IsSilent) throw new StorageUnavailableException($"the database cannot be read: {PostgresFailure.NoAnswer}", null);
            var isConnected = false;
            try
            {
                return await WithinAsync(async call =>
                {
                    await _places.WaitAsync();
                    try
                    {
                        await using var connection = await ConnectAsync(CancellationToken.None);
                        isConnected = true;
                        await using var batch = makeBatch(connection);
                        await using var reader = await call.SendAsync(batch);
                        Answered();
                        return await read(reader);
                    }
                    finally
                    {
                        _places.Release();
                    }
                }, Patience);
            }
            catch (Exception exception) when (PostgresFailure.IsOfDatabase(exception))
            {
                Failed(exception);
                // The connection may have been dead for a while without anybody knowing: a new one is worth a try, an answer that takes
                // too long is not.
                if (isAgain || !isConnected || !PostgresFailure.MayPass(exception) || PostgresFailure.IsTimeout(exception))
                    throw new StorageUnavailableException($"the database cannot be read: {PostgresFailure.Reason(exception)}", exception);
            }
        }
    }

    private static async Task<bool> ExecuteAsync(PostgresCall call, NpgsqlConnection connection, string sql)
    {
        await using var batch = connection.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand(sql));
        await using var reader = await call.SendAsync(batch);
        return true;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Waiting for the database {Database}: {Cause}")]
    private static partial void LogWaiting(ILogger logger, string database, string cause);

    [LoggerMessage(Level = LogLevel.Error, Message = "The database {Database} does not answer: {Cause}")]
    private static partial void LogAway(ILogger logger, string database, string cause);

    [LoggerMessage(Level = LogLevel.Information, Message = "The database {Database} answers again")]
    private static partial void LogBack(ILogger logger, string database);

    [LoggerMessage(Level = LogLevel.Error, Message = "The database {Database} refuses: {Cause}")]
    private static partial void LogRefused(ILogger logger, string database, string cause);
}
