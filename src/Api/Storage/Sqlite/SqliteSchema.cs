using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

/// <summary>The tables, made by numbered migrations, by which a file of this service is told from any other.</summary>
internal static class SqliteSchema
{
    // By their numbers; PRAGMA user_version is the number of those that have been applied.
    private static readonly string[] Migrations =
    [
        """
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            version INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            header BLOB NOT NULL,
            state BLOB NOT NULL
        );
        CREATE INDEX sessions_by_age ON sessions (created_at, id);
        CREATE TABLE answers (
            session_id TEXT NOT NULL,
            topic TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            key TEXT NOT NULL,
            content BLOB NOT NULL,
            PRIMARY KEY (session_id, topic, sequence),
            UNIQUE (session_id, topic, key)
        ) WITHOUT ROWID;
        CREATE TABLE snapshots (
            session_id TEXT NOT NULL,
            version INTEGER NOT NULL,
            header BLOB NOT NULL,
            state BLOB NOT NULL,
            PRIMARY KEY (session_id, version)
        );
        """,
        """
        CREATE TABLE keys (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            role TEXT NOT NULL,
            prefix TEXT,
            created_at INTEGER NOT NULL,
            salt BLOB NOT NULL,
            hash BLOB NOT NULL
        );
        """,
        """
        ALTER TABLE sessions ADD COLUMN owner TEXT;
        CREATE INDEX sessions_by_owner ON sessions (owner) WHERE owner IS NOT NULL;
        """,
        // What a list looks for is found without a look at the rows, which the states make long.
        """
        DROP INDEX IF EXISTS sessions_by_age;
        CREATE INDEX IF NOT EXISTS sessions_listed ON sessions (created_at, id, name, kind);
        """,
        """
        CREATE TABLE IF NOT EXISTS traffic (
            session_id TEXT PRIMARY KEY,
            content BLOB NOT NULL
        );
        """,
        // Arrays of one value are stored as that value: a service of before refuses such states, and had better not begin.
        "",
        // Answers of groups are in one order over all groups of a session.
        "CREATE INDEX IF NOT EXISTS answers_of_groups ON answers (session_id, sequence) WHERE instr(topic, ' ') > 0;",
        // What is remembered of large answers is measured by this index alone.
        "CREATE INDEX IF NOT EXISTS answers_large ON answers (session_id, length(content)) WHERE length(content) > 4096;",
    ];

    // What is read has been the same since this one.
    private const int Readable = 5;

    private const string Foreign =
        "it is a database without anything of this service, or of another program; name another file, or remove it to begin anew";

    // Which tables there are from which migration on.
    private static readonly (int Number, string[] Tables)[] Tables =
        [(1, ["sessions", "answers", "snapshots"]), (2, ["keys"]), (5, ["traffic"])];

    /// <summary>The number of migrations that a file has had.</summary>
    /// <exception cref="SqliteException">It is no file of this service, or one of a newer one, or lacks tables.</exception>
    public static int NumberOf(SqliteConnection connection)
    {
        var applied = (long)Ask(connection, "PRAGMA user_version");
        if (applied > Migrations.Length)
        {
            throw new SqliteException(
                $"its schema is number {applied}, of a newer service; this one knows {Migrations.Length}", SQLitePCL.raw.SQLITE_SCHEMA);
        }
        if (applied < 1 || (long)Ask(connection, "PRAGMA application_id") != 0)
            throw new SqliteException(Foreign, SQLitePCL.raw.SQLITE_NOTADB);
        foreach (var table in Tables.Where(entry => entry.Number <= applied).SelectMany(entry => entry.Tables))
        {
            if ((long)Ask(connection, $"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '{table}'") == 0)
                throw new SqliteException($"its table {table} is missing", SQLitePCL.raw.SQLITE_CORRUPT);
        }
        return (int)applied;
    }

    /// <summary>Whether a file with so many migrations can be read as it is.</summary>
    public static bool IsReadable(int applied) => applied >= Readable;

    /// <summary>Applies the migrations that a file has not had yet.</summary>
    /// <param name="applied">How many it has had.</param>
    public static void Migrate(SqliteConnection connection, int applied)
    {
        for (var number = applied; number < Migrations.Length; number++)
        {
            using var transaction = connection.BeginTransaction();
            using var command = connection.CreateCommand();
            command.CommandText = $"{Migrations[number]} PRAGMA user_version = {number + 1};";
            command.ExecuteNonQuery();
            transaction.Commit();
        }
    }

    /// <summary>Writes what is there: what SQLite opens it may not be able to write.</summary>
    public static void Touch(SqliteConnection connection)
    {
        using var command = connection.CreateCommand();
        command.CommandText = $"PRAGMA user_version = {Ask(connection, "PRAGMA user_version")}";
        command.ExecuteNonQuery();
    }

    private static object Ask(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        return command.ExecuteScalar()!;
    }
}
