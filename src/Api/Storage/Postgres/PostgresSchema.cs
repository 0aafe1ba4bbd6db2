using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>The tables, made by numbered migrations: each is applied once, however many nodes start together.</summary>
internal static class PostgresSchema
{
    // By their numbers; bn_schema has the number of those that have been applied. Names begin with bn_: others may have tables there too.
    // No column has a collation of its own, for CockroachDB has none such: texts are compared for equality alone, and where their order
    // counts, the query says which. IF NOT EXISTS: where the engine has no transactions of tables, a migration may have got halfway.
    private static readonly string[][] Migrations =
    [
        [
            """
            CREATE TABLE IF NOT EXISTS bn_sessions (
                id text PRIMARY KEY,
                name text NOT NULL,
                kind text NOT NULL,
                version bigint NOT NULL,
                created_at bigint NOT NULL,
                header bytea NOT NULL,
                state bytea NOT NULL,
                writes bytea NOT NULL
            )
            """,
            "CREATE INDEX IF NOT EXISTS bn_sessions_by_age ON bn_sessions (created_at)",
            // Names and ids of all sessions: one key for both, for no name may be another session's id.
            """
            CREATE TABLE IF NOT EXISTS bn_names (
                name text PRIMARY KEY,
                session_id text NOT NULL,
                write bytea NOT NULL
            )
            """,
            """
            CREATE TABLE IF NOT EXISTS bn_answers (
                session_id text NOT NULL,
                topic text NOT NULL,
                sequence bigint NOT NULL,
                key text NOT NULL,
                content bytea NOT NULL,
                PRIMARY KEY (session_id, topic, sequence),
                UNIQUE (session_id, topic, key)
            )
            """,
            """
            CREATE TABLE IF NOT EXISTS bn_snapshots (
                session_id text NOT NULL,
                version bigint NOT NULL,
                header bytea NOT NULL,
                state bytea NOT NULL,
                write bytea NOT NULL,
                PRIMARY KEY (session_id, version)
            )
            """,
            """
            CREATE TABLE IF NOT EXISTS bn_contributions (
                session_id text NOT NULL,
                topic text NOT NULL,
                step bigint NOT NULL,
                rank bigint NOT NULL,
                world_size bigint NOT NULL,
                nonce text NOT NULL,
                content bytea NOT NULL,
                PRIMARY KEY (session_id, topic, step, rank)
            )
            """,
        ],
        [
            """
            CREATE TABLE IF NOT EXISTS bn_keys (
                id text PRIMARY KEY,
                name text NOT NULL,
                role text NOT NULL,
                prefix text NOT NULL,
                created_at bigint NOT NULL,
                salt bytea NOT NULL,
                hash bytea NOT NULL
            )
            """,
        ],
        [
            // Empty where it is nobody's. Nodes of before go on without it.
            "ALTER TABLE bn_sessions ADD COLUMN IF NOT EXISTS owner text NOT NULL DEFAULT ''",
            "CREATE INDEX IF NOT EXISTS bn_sessions_by_owner ON bn_sessions (owner)",
        ],
        [
            """
            CREATE TABLE IF NOT EXISTS bn_traffic (
                session_id text NOT NULL,
                node text NOT NULL,
                saved_at bigint NOT NULL,
                content bytea NOT NULL,
                PRIMARY KEY (session_id, node)
            )
            """,
        ],
        [
            // By the database's clock; null where a node of before has added it.
            "ALTER TABLE bn_contributions ADD COLUMN IF NOT EXISTS added_at timestamptz",
        ],
        [
            // What a list looks for is found without a look at the rows.
            "CREATE INDEX IF NOT EXISTS bn_sessions_listed ON bn_sessions (created_at, id, name, kind)",
            "DROP INDEX IF EXISTS bn_sessions_by_age",
        ],
        // Long arrays of one value are stored as that value: nodes of before refuse such states, and had better not begin.
        [],
        [
            // Answers of groups are in one order over all groups of a session.
            "CREATE INDEX IF NOT EXISTS bn_answers_of_groups ON bn_answers (session_id, sequence) WHERE strpos(topic, ' ') > 0",
        ],
        // What is remembered of large answers is measured by this index alone.
        ["CREATE INDEX IF NOT EXISTS bn_answers_large ON bn_answers (session_id, octet_length(content)) WHERE octet_length(content) > " +
            "4096"],
    ];

    /// <summary>Number of the schema that this service makes.</summary>
    public static int Number => Migrations.Length;

    /// <summary>Applies the migrations that have not been yet.</summary>
    /// <exception cref="StorageUnusableException">A newer service has made the schema.</exception>
    public static async Task MigrateAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        // Where all is there, the right to make tables is not needed.
        if (await TryReadNumberAsync(connection, cancellationToken) == Migrations.Length) return;
        await ExecuteAsync(connection, "CREATE TABLE IF NOT EXISTS bn_schema (id bigint PRIMARY KEY, number bigint NOT NULL)",
            cancellationToken);
        await ExecuteAsync(connection, "INSERT INTO bn_schema (id, number) VALUES (1, 0) ON CONFLICT DO NOTHING", cancellationToken);
        while (!await MigrateOnceAsync(connection, cancellationToken))
        {
        }
    }

    // True where nothing was left to do. Who locks the row first does it, while all others wait for the row.
    private static async Task<bool> MigrateOnceAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
        var applied = await ReadNumberAsync(connection, " FOR UPDATE", cancellationToken);
        if (applied == Migrations.Length) return true;
        foreach (var statement in Migrations[applied!.Value]) await ExecuteAsync(connection, statement, cancellationToken);
        await ExecuteAsync(connection, "UPDATE bn_schema SET number = number + 1 WHERE id = 1", cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return false;
    }

    private static async Task<long?> TryReadNumberAsync(NpgsqlConnection connection, CancellationToken cancellationToken)
    {
        try
        {
            return await ReadNumberAsync(connection, "", cancellationToken);
        }
        catch (PostgresException exception) when (exception.SqlState == PostgresErrorCodes.UndefinedTable)
        {
            return null;
        }
    }

    private static async Task<long?> ReadNumberAsync(NpgsqlConnection connection, string locking, CancellationToken cancellationToken)
    {
        await using var command = new NpgsqlCommand($"SELECT number FROM bn_schema WHERE id = 1{locking}", connection);
        var applied = (long?)await command.ExecuteScalarAsync(cancellationToken);
        return applied <= Migrations.Length || applied is null
            ? applied
            : throw new StorageUnusableException(
                $"the database of Storage:ConnectionString has schema number {applied}, of a newer service; this one knows " +
                    $"{Migrations.Length}. "
                + "It has been left as it is");
    }

    private static async Task ExecuteAsync(NpgsqlConnection connection, string sql, CancellationToken cancellationToken)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(cancellationToken);
    }
}
