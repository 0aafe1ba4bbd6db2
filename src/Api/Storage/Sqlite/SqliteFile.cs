using Microsoft.Data.Sqlite;

namespace BnService.Api.Storage.Sqlite;

/// <summary>
/// The database file: opened by one process alone, of a schema that this service knows, and never made anew where there is or was one.
/// Where it cannot be written now, it is opened to be read.
/// </summary>
internal sealed class SqliteFile : IDisposable
{
    private const string LockSuffix = ".lock", NewSuffix = ".new", ProbeSuffix = ".probe";
    private const string LogSuffix = "-wal", IndexSuffix = "-shm", JournalSuffix = "-journal";
    private const int KeepsLogOnClose = 1006;
    private const long LargestChecked = 64L << 20;
    private const int ProbeBytes = 256 << 10;

    // FULL: a commit is on the disk when it returns, in WAL mode too.
    private const string Durable = "PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;", Logged = "PRAGMA journal_mode = WAL;";

    // What may pass: a disk that is full, read-only or fails. Reading needs no more than that nobody else writes.
    private static readonly int[] OfTheDisk =
        [SQLitePCL.raw.SQLITE_READONLY, SQLitePCL.raw.SQLITE_IOERR, SQLitePCL.raw.SQLITE_FULL, SQLitePCL.raw.SQLITE_CANTOPEN];

    // What Linux and macOS answer to a lock that somebody else has (EWOULDBLOCK).
    private static readonly int[] LockedByAnother = [11, 35];

    private static readonly FileStreamOptions Probe =
        new() { Mode = FileMode.Create, Access = FileAccess.Write, Options = FileOptions.DeleteOnClose };

    private readonly string _path, _name;
    private readonly FileStream? _lock;

    /// <summary>Opens the file, and makes it where there is none.</summary>
    /// <param name="path">Where it lies.</param>
    /// <exception cref="StorageUnusableException">Another process has it, or it is damaged, lost or not of this service.</exception>
    /// <exception cref="StorageUnavailableException">It can neither be written nor read now.</exception>
    public SqliteFile(string path)
    {
        (_name, _path) = (path, Resolved(path));
        var exists = File.Exists(_path);
        _lock = Lock(exists);
        try
        {
            RequireKept(exists);
            if (WriteFailure is null) OpenToWrite(exists);
            if (WriteFailure is not null) OpenToRead();
        }
        catch (Exception exception)
        {
            _lock?.Dispose();
            throw exception is IOException or UnauthorizedAccessException ? Unavailable(exception)
                : exception is not SqliteException { SqliteErrorCode: var code } ? exception
                : OfTheDisk.Contains(code) || code == SQLitePCL.raw.SQLITE_BUSY ? Unavailable(exception) : Unusable(exception.Message);
        }
    }

    /// <summary>Why it is open to be read alone; null where it can be written.</summary>
    public StorageUnavailableException? WriteFailure { get; private set; }

    /// <summary>Which files and folders others than their owner could read, until now.</summary>
    public IReadOnlyList<string> Tightened { get; private set; } = [];

    /// <summary>A connection that waits for the disk when it commits, or one that reads.</summary>
    public SqliteConnection Connect() => WriteFailure is null
        ? Connect(_path, Logged + Durable)
        : Connect(ReadOnlyUri(), "PRAGMA locking_mode = EXCLUSIVE;");

    /// <summary>Whether a file that is open to be read can be opened to be written, by all that shows without doing it.</summary>
    public bool MayBeWritten()
    {
        try
        {
            using (new FileStream(_path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            using (var probe = new FileStream(_path + ProbeSuffix, Probe))
            {
                probe.Write(new byte[ProbeBytes]);
                probe.Flush(flushToDisk: true);
            }
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    public void Dispose() => _lock?.Dispose();

    // The companions lie beside the file itself, and so does what keeps other processes away from it.
    private static string Resolved(string path)
    {
        var full = Path.GetFullPath(path);
        if (Directory.Exists(full)) throw new StorageUnusableException($"Storage:Path '{path}' must name a file, and is a folder");
        if (new FileInfo(full).LinkTarget is not { } target) return full;
        return File.ResolveLinkTarget(full, returnFinalTarget: true) is { Exists: true } file
            ? file.FullName
            : throw new StorageUnusableException(
                $"Storage:Path '{path}' is a link to '{target}', where there is no file: is a disk not mounted? To begin anew, name that " +
                    $"file itself");
    }

    // One that may only be read locks as well. Null where there is none and none can be made: nobody has ever opened the file to write.
    private FileStream? Lock(bool exists)
    {
        var path = _path + LockSuffix;
        try
        {
            OwnerOnly.CreateFolder(Path.GetDirectoryName(_path)!);
            return OwnerOnly.Open(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            if (LockedByAnother.Contains(exception.HResult)) throw InUse();
            if (!exists) throw Unavailable(exception);
            if (!File.Exists(path))
            {
                WriteFailure = Unavailable(exception);
                return null;
            }
        }
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.None);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw LockedByAnother.Contains(exception.HResult) ? InUse() : Unavailable(exception);
        }
    }

    // A file that was there and is not, or not as a whole, must not become a new one without sessions and keys.
    private void RequireKept(bool exists)
    {
        if (!exists && File.Exists(_path + LogSuffix))
            throw Unusable($"it is missing, but its log '{_path}{LogSuffix}' is there. Put it back, or remove the log to begin anew");
        if (exists && new FileInfo(_path).Length == 0)
            throw Unusable("it is empty, which no database is. Put it back from a backup, or remove it to begin anew");
        if (SqliteLog.IsDamaged(_path + LogSuffix))
        {
            throw Unusable(
                $"its log '{_path}{LogSuffix}' is damaged, and with it what was answered last. Put the log back, or remove it to go on " +
                    $"without that");
        }
    }

    private void OpenToWrite(bool exists)
    {
        try
        {
            if (!exists) Create();
            // The mode is written into the file: not before it is known to be one of this service.
            using var connection = Connect(_path, Durable);
            KeepLog(connection, isKept: true);
            RequireSound(connection);
            var applied = SqliteSchema.NumberOf(connection);
            Execute(connection, Logged);
            SqliteSchema.Migrate(connection, applied);
            SqliteSchema.Touch(connection);
            KeepLog(connection, isKept: false);
            Tighten();
        }
        catch (SqliteException exception) when (exists && OfTheDisk.Contains(exception.SqliteErrorCode))
        {
            WriteFailure = Unavailable(exception);
        }
    }

    private void OpenToRead()
    {
        using var connection = Connect();
        RequireSound(connection);
        if (!SqliteSchema.IsReadable(SqliteSchema.NumberOf(connection))) throw WriteFailure!;
    }

    // Under another name until all of it is there: an empty or half-made file is never left behind under its own.
    private void Create()
    {
        foreach (var suffix in (string[])["", JournalSuffix, LogSuffix, IndexSuffix]) File.Delete(_path + NewSuffix + suffix);
        try
        {
            OwnerOnly.Open(_path + NewSuffix).Dispose();
            using (var connection = Connect(_path + NewSuffix, Durable))
            {
                SqliteSchema.Migrate(connection, 0);
                Execute(connection, Logged);
            }
            File.Move(_path + NewSuffix, _path);
        }
        catch
        {
            File.Delete(_path + NewSuffix);
            throw;
        }
    }

    // Without a log the file is all there is, and nobody changes it. With one SQLite needs an index of it, in memory, for it can write
    // none beside it; that it does where nobody else is to have the file, which without locks of its own the lock of this service says.
    private string ReadOnlyUri()
    {
        var hasLog = ((string[])[LogSuffix, JournalSuffix]).Any(suffix => new FileInfo(_path + suffix) is { Exists: true, Length: > 0 });
        var path = Uri.EscapeDataString(_path).Replace("%2F", "/", StringComparison.Ordinal);
        return $"file:{path}?mode=ro&{(hasLog ? "vfs=unix-none" : "immutable=1")}";
    }

    private void Tighten()
    {
        var (folder, files) = (Path.GetDirectoryName(_path)!,
            (string[])[_path, _path + LogSuffix, _path + IndexSuffix, _path + LockSuffix]);
        var tightened = files.Where(OwnerOnly.TryTighten).ToList();
        if (OwnerOnly.TryTightenFolder(folder, Path.GetFileName(_path))) tightened.Add(folder);
        Tightened = tightened;
    }

    // Reading a large file as a whole would make the start wait for it: of that, a damaged page is met when it is needed.
    private void RequireSound(SqliteConnection connection)
    {
        using var check = connection.CreateCommand();
        check.CommandText = new FileInfo(_path).Length <= LargestChecked ? "PRAGMA quick_check(1)" : "PRAGMA schema_version; SELECT 'ok'";
        if (check.ExecuteScalar() is not ("ok" or long)) throw new SqliteException("the file is damaged", SQLitePCL.raw.SQLITE_CORRUPT);
    }

    // The last connection that is closed brings the log into the file: not before both are known to be sound.
    private static void KeepLog(SqliteConnection connection, bool isKept) =>
        SQLitePCL.raw.sqlite3_db_config(connection.Handle, KeepsLogOnClose, isKept ? 1 : 0, out _);

    private static SqliteConnection Connect(string source, string settings)
    {
        var builder = new SqliteConnectionStringBuilder { DataSource = source, Mode = SqliteOpenMode.ReadWrite, Pooling = false };
        var connection = new SqliteConnection(builder.ConnectionString);
        try
        {
            connection.Open();
            Execute(connection, settings);
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private static void Execute(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }

    private StorageUnusableException InUse() => new($"Storage:Path '{_name}' is in use by another process") { IsInUse = true };

    private StorageUnusableException Unusable(string why) =>
        new($"Storage:Path '{_name}' cannot be used: {why}. It has been left as it is");

    private StorageUnavailableException Unavailable(Exception cause) =>
        new($"Storage:Path '{_name}' cannot be written: {cause.Message}", cause);
}
