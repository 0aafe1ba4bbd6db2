using System.Collections.Concurrent;
using System.Globalization;
using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// The server or the servers of the database. Of several, the one that takes writes is used, whichever that is now: a standby that has been
/// promoted, and no more the primary that has been made one. Nor one that comes back as if nothing had happened, and takes writes beside
/// the one that has taken its place: each promotion begins a timeline, and of one database the newest that was seen is used.
/// </summary>
internal sealed class PostgresHosts : IAsyncDisposable
{
    private const string Advice =
        "name the primary, or all servers in one Host with commas ('Host=a,b'), of which the one that takes writes is used";

    private static readonly Dictionary<string, TargetSessionAttributes> Wanted = new(StringComparer.OrdinalIgnoreCase)
    {
        ["read-write"] = TargetSessionAttributes.ReadWrite,
        ["primary"] = TargetSessionAttributes.Primary,
        ["any"] = TargetSessionAttributes.Any,
    };

    private readonly ConcurrentDictionary<string, long> _timelines = new();
    private readonly NpgsqlDataSource _source;
    private readonly NpgsqlMultiHostDataSource? _several;

    /// <param name="builder">Names them; what it says of the kind of server that is wanted is taken out of it.</param>
    /// <exception cref="NotSupportedException">It asks for a server that takes no writes.</exception>
    public PostgresHosts(NpgsqlDataSourceBuilder builder)
    {
        var settings = builder.ConnectionStringBuilder;
        if (!Wanted.TryGetValue(settings.TargetSessionAttributes ?? "read-write", out var wanted))
            throw new NotSupportedException("Target Session Attributes must be read-write, primary or any");
        settings.TargetSessionAttributes = null;
        var areSeveral = settings.Host?.Contains(',', StringComparison.Ordinal) == true;
        // Nobody opens one synchronously.
        if (areSeveral) builder.UsePhysicalConnectionInitializer(_ => { }, RequireNewestAsync);
        _several = areSeveral ? builder.BuildMultiHost() : null;
        _source = _several?.WithTargetSession(wanted) ?? builder.Build();
    }

    /// <summary>A connection to the server that takes writes.</summary>
    public ValueTask<NpgsqlConnection> ConnectAsync(CancellationToken cancellationToken) => _source.OpenConnectionAsync(cancellationToken);

    /// <summary>Lets go of the connections that are idle.</summary>
    public void Clear() => _source.Clear();

    /// <summary>Where a failure may come from another server's being the primary now, forgets what was known of them.</summary>
    public void LookAgain(Exception failure)
    {
        // Also of one: its name may lead to another server by now.
        if (PostgresFailure.IsReadOnly(failure)) _source.Clear();
        _several?.ClearDatabaseStates();
    }

    /// <summary>What has failed, with what can be done about it.</summary>
    public string CauseOf(Exception failure)
    {
        var cause = $"{failure.Message}{(failure.InnerException is { } inner ? $": {inner.Message}" : "")}";
        return _several is null || failure is PostgresException ? cause
            : $"none of these servers can be reached and takes writes ({cause})";
    }

    /// <summary>Refuses a server that takes no writes, which may be promoted in a moment.</summary>
    /// <exception cref="NpgsqlException">It takes none.</exception>
    public static async Task RequireWritableAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        if (await AnswerAsync("SHOW transaction_read_only") is not "on") return;
        throw new NpgsqlException(await AnswerAsync("SELECT pg_is_in_recovery()") is true
            ? $"it is a standby (in recovery), which takes no writes: {Advice}"
            : $"it is read-only (default_transaction_read_only): {Advice}");

        // Null where the engine does not know what is asked.
        async Task<object?> AnswerAsync(string sql)
        {
            try
            {
                await using var command = new NpgsqlCommand(sql, connection);
                return await command.ExecuteScalarAsync(cancellationToken);
            }
            catch (PostgresException exception) when (!PostgresFailure.MayPass(exception))
            {
                return null;
            }
        }
    }

    private async Task RequireNewestAsync(NpgsqlConnection connection)
    {
        string database;
        long timeline;
        try
        {
            // The first eight digits of a log file's name are its timeline.
            await using var command = new NpgsqlCommand(
                "SELECT system_identifier::text, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()", connection);
            await using var reader = await command.ExecuteReaderAsync();
            await reader.ReadAsync();
            database = reader.GetString(0);
            timeline = long.Parse(reader.GetString(1).AsSpan(0, 8), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        }
        catch (PostgresException exception) when (exception.SqlState == PostgresErrorCodes.ObjectNotInPrerequisiteState)
        {
            // Where it is promoted, a connection from before would not tell of its new timeline.
            throw new NpgsqlException($"{connection.Host}:{connection.Port} is a standby (in recovery), which takes no writes");
        }
        catch (PostgresException)
        {
            // An engine that knows no timelines.
            return;
        }
        var before = _timelines.GetValueOrDefault(database);
        var newest = _timelines.AddOrUpdate(database, timeline, (_, known) => Math.Max(known, timeline));
        if (timeline < newest)
        {
            throw new NpgsqlException(
                $"{connection.Host}:{connection.Port} is on timeline {timeline} of this database, of which timeline {newest} was seen: " +
                    $"another server "
                + "has taken its place. Make it a standby of that one; where it is to be used all the same, start this node again");
        }
        // Connections to the server that was used before are left.
        if (before != 0 && timeline > before) _source.Clear();
    }

    public async ValueTask DisposeAsync()
    {
        await _source.DisposeAsync();
        if (_several is not null) await _several.DisposeAsync();
    }
}
