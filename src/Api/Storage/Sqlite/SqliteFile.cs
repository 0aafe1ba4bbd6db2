using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

/// <summary>The database file: opened by one process alone, of a schema that this service knows, and never made anew where there is one.</summary>
internal sealed class SqliteFile : IDisposable
{
    private const string LockSuffix = ".lock";
    private const long LargestChecked = 64L << 20;

    // What may pass: a disk that is full, read-only or fails.
    private static readonly int[] OfTheDisk =
        [SQLitePCL.raw.SQLITE_READONLY, SQLitePCL.raw.SQLITE_IOERR, SQLitePCL.raw.SQLITE_FULL, SQLitePCL.raw.SQLITE_CANTOPEN, SQLitePCL.raw.SQLITE_BUSY];

    // What Linux and macOS answer to a lock that somebody else has (EWOULDBLOCK).
    private static readonly int[] LockedByAnother = [11, 35];

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
    ];

    private readonly string _path;
    private readonly FileStream _lock;

    /// <summary>Opens the file, and makes it where there is none.</summary>
    /// <param name="path">Where it lies.</param>
    /// <exception cref="StorageUnusableException">Another process has it, or it is damaged or no database of this service.</exception>
    /// <exception cref="StorageUnavailableException">It cannot be read and written now.</exception>
    public SqliteFile(string path)
    {
        _path = Path.GetFullPath(path);
        if (Directory.Exists(_path)) throw new StorageUnusableException($"Storage:Path '{path}' must name a file, and is a folder");
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(_path)!);
            _lock = new FileStream(_path + LockSuffix, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            if (LockedByAnother.Contains(exception.HResult))
                throw new StorageUnusableException($"Storage:Path '{path}' is in use by another process") { IsInUse = true };
            throw new StorageUnavailableException($"Storage:Path '{path}' cannot be written: {exception.Message}", exception);
        }
        try
        {
            using var connection = Connect();
            RequireSound(connection);
            Migrate(connection);
        }
        catch (SqliteException exception)
        {
            _lock.Dispose();
            if (OfTheDisk.Contains(exception.SqliteErrorCode)) throw new StorageUnavailableException($"Storage:Path '{path}' cannot be written: {exception.Message}", exception);
            throw new StorageUnusableException($"Storage:Path '{path}' cannot be used: {exception.Message}. It has been left as it is");
        }
    }

    /// <summary>A connection that waits for the disk when it commits.</summary>
    public SqliteConnection Connect()
    {
        var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = _path, Pooling = false }.ConnectionString);
        try
        {
            connection.Open();
            // FULL: a commit is on the disk when it returns, in WAL mode too.
            Execute(connection, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;");
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _lock.Dispose();

    // Reading a large file as a whole would make the start wait for it: of that, a damaged page is met when it is needed.
    private void RequireSound(SqliteConnection connection)
    {
        using var check = connection.CreateCommand();
        check.CommandText = new FileInfo(_path).Length <= LargestChecked ? "PRAGMA quick_check(1)" : "PRAGMA schema_version; SELECT 'ok'";
        if (check.ExecuteScalar() is not ("ok" or long)) throw new SqliteException("the file is damaged", SQLitePCL.raw.SQLITE_CORRUPT);
    }

    private static void Migrate(SqliteConnection connection)
    {
        using var read = connection.CreateCommand();
        read.CommandText = "PRAGMA user_version";
        var applied = (long)read.ExecuteScalar()!;
        if (applied > Migrations.Length)
            throw new SqliteException($"its schema is number {applied}, of a newer service; this one knows {Migrations.Length}", SQLitePCL.raw.SQLITE_SCHEMA);
        for (var number = (int)applied; number < Migrations.Length; number++)
        {
            using var transaction = connection.BeginTransaction();
            Execute(connection, $"{Migrations[number]} PRAGMA user_version = {number + 1};");
            transaction.Commit();
        }
    }

    private static void Execute(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
