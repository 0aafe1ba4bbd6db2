using System.Net.Sockets;
using Npgsql;

namespace BnService.Api.Storage.Postgres;

/// <summary>What a failure of the database says of what was asked of it.</summary>
internal static class PostgresFailure
{
    /// <summary>Why something failed that there was no answer to, in words for a client.</summary>
    public const string NoAnswer = "it does not answer in time";

    /// <summary>
    /// Whether a failure is the database's, and not this program's. Where a server goes away in the middle of what it says, Npgsql has
    /// exceptions of every kind for what it reads then, and for what it does afterwards with the connection.
    /// </summary>
    public static bool IsOfDatabase(Exception exception) => exception
        is NpgsqlException or TimeoutException or IOException or SocketException or ObjectDisposedException
            || IsOfBrokenConnection(exception);

    /// <summary>Whether the server takes no writes: it is a standby, or another one has become the primary.</summary>
    public static bool IsReadOnly(Exception exception) =>
        exception is PostgresException { SqlState: PostgresErrorCodes.ReadOnlySqlTransaction };

    /// <summary>
    /// Whether the database has said that nothing of the transaction was made. Everything else leaves it open: what ends a connection may
    /// come after the commit and before its answer.
    /// </summary>
    public static bool IsRefusal(Exception exception) => exception is PostgresException refusal && !EndsConnection(refusal);

    /// <summary>Whether the same transaction may succeed in a moment: it has met another one, or there is no room for it now.</summary>
    public static bool IsCollision(Exception exception) => exception
        is PostgresException { SqlState: PostgresErrorCodes.SerializationFailure or PostgresErrorCodes.DeadlockDetected };

    /// <summary>Whether there was no answer in time.</summary>
    public static bool IsTimeout(Exception exception) => exception is TimeoutException or { InnerException: TimeoutException };

    /// <summary>Whether a database that is being started, or a table that somebody else makes at the same time, may explain it.</summary>
    public static bool MayPass(Exception exception) => exception is not PostgresException refusal || IsCollision(refusal)
        || IsReadOnly(refusal) || (EndsConnection(refusal) && !IsOfSettings(refusal))
        || refusal.SqlState is PostgresErrorCodes.TooManyConnections or PostgresErrorCodes.UniqueViolation
            or PostgresErrorCodes.DuplicateTable or PostgresErrorCodes.DuplicateObject;

    /// <summary>Why it failed, in words for a client: without names of machines, users and tables.</summary>
    public static string Reason(Exception exception) => exception switch
    {
        PostgresException { SqlState: PostgresErrorCodes.TooManyConnections or PostgresErrorCodes.InsufficientResources } =>
            "it has no connections left",
        // admin_shutdown, crash_shutdown and cannot_connect_now.
        PostgresException { SqlState: "57P01" or "57P02" or "57P03" } => "it is being restarted",
        PostgresException { SqlState: PostgresErrorCodes.DiskFull } => "its disk is full",
        PostgresException { SqlState: PostgresErrorCodes.ReadOnlySqlTransaction } => "it is read-only",
        PostgresException { SqlState: PostgresErrorCodes.QueryCanceled } => "it takes too long",
        PostgresException refusal => $"it refuses with SQLSTATE {refusal.SqlState}",
        _ when IsTimeout(exception) => NoAnswer,
        ObjectDisposedException => "the service is stopping",
        _ => "it cannot be reached",
    };

    private static bool IsOfBrokenConnection(Exception exception) => exception.Source == nameof(Npgsql)
        && exception is not (ArgumentException or InvalidCastException or NotSupportedException or OperationCanceledException);

    // Classes 28 (user and password), 3D (database) and 42 (rights and names).
    private static bool IsOfSettings(PostgresException refusal) => refusal.SqlState[..2] is "28" or "3D" or "42";

    // Classes 08 (connection) and 57P (operator intervention), and the answer that the outcome is not known (40003).
    private static bool EndsConnection(PostgresException refusal) =>
        refusal.SqlState.StartsWith("08", StringComparison.Ordinal) || refusal.SqlState.StartsWith("57P", StringComparison.Ordinal)
        || refusal.SqlState == PostgresErrorCodes.StatementCompletionUnknown || refusal.InvariantSeverity is "FATAL" or "PANIC";
}
