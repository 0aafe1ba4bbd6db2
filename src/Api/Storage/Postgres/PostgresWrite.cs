using Npgsql;
using NpgsqlTypes;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// A change of what is stored of one session: statements that change all or nothing without failing where they may not, and tell whether
/// they did. So that it can be found out whether it was made, it can be made again: a second time it changes nothing, and tells the same.
/// </summary>
/// <param name="sessionId">
/// The session, by which writes are ordered: two nodes that lock rows in one order do not wait for each other in a circle.
/// </param>
internal abstract class PostgresWrite(string sessionId)
{
    private static readonly SqlText NumberOfMark = new($"{sizeof(long) + 1}, {sizeof(long)}");

    private readonly TaskCompletionSource<bool> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public string SessionId { get; } = sessionId;

    /// <summary>About how many bytes are sent.</summary>
    public virtual long Size => 0;

    /// <summary>Whether it was sent and the answer did not come.</summary>
    public bool IsInDoubt { get; set; }

    /// <summary>Whether it was made, once that is stored.</summary>
    public Task<bool> Task => _result.Task;

    /// <summary>The statements; new ones each time.</summary>
    /// <param name="isAgain">Whether they may have been executed before.</param>
    public abstract IEnumerable<SqlStatement> Statements(bool isAgain);

    /// <summary>Reads what the statements have answered: of each that has rows, in their order.</summary>
    /// <returns>Whether the write was made; null where that can no longer be known.</returns>
    public abstract ValueTask<bool?> ReadAsync(AnsweredRows rows, bool isAgain);

    /// <summary>Tells whoever waits.</summary>
    public void Finish(bool? isMade)
    {
        if (isMade is { } known) _result.TrySetResult(known);
        else Fail("the session has been changed many times since", null);
    }

    /// <summary>Tells whoever waits that it has failed.</summary>
    public void Fail(string reason, Exception? cause) => _result.TrySetException(new StorageUnavailableException(IsInDoubt
        ? $"the database went away while the change was being stored, and it is not known whether it was made ({reason}); "
            + "the same request with the same Idempotency-Key finds out"
        : $"the database cannot be written: {reason}; nothing has changed", cause));

    /// <summary>Tells whoever waits of a failure that is not the database's.</summary>
    public void Fail(Exception exception) => _result.TrySetException(exception);

    /// <summary>The condition that a session's state is the expected one, and not another one of the same number.</summary>
    protected static SqlStatement Is(StoredVersion expected)
    {
        if (expected.Mark == 0) return $"version = {expected.Number}";
        var mark = new WriteMark(expected.Number, expected.Mark).Bytes.AsMemory(sizeof(long));
        return $"version = {expected.Number} AND substr(writes, {NumberOfMark}) = {mark}";
    }

    /// <summary>A statement as a part of a batch.</summary>
    public static NpgsqlBatchCommand Command(SqlStatement statement)
    {
        var command = new NpgsqlBatchCommand();
        command.CommandText = statement.Write(value => command.Parameters.Add(value switch
        {
            string text => new NpgsqlParameter<string> { TypedValue = text, NpgsqlDbType = NpgsqlDbType.Text },
            long number => new NpgsqlParameter<long> { TypedValue = number, NpgsqlDbType = NpgsqlDbType.Bigint },
            ReadOnlyMemory<byte> bytes =>
                new NpgsqlParameter<ReadOnlyMemory<byte>> { TypedValue = bytes, NpgsqlDbType = NpgsqlDbType.Bytea },
            _ => new NpgsqlParameter { Value = value, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text },
        }));
        return command;
    }

    /// <summary>The statement that takes a session's row until the end of the transaction, and reads the marks of its writes.</summary>
    protected SqlStatement Lock() => $"SELECT writes FROM bn_sessions WHERE id = {SessionId} FOR UPDATE";
}

/// <summary>What the statements of a batch have answered, one after the other.</summary>
internal sealed class AnsweredRows(NpgsqlDataReader reader)
{
    /// <summary>Whether the next statement that can have rows has one.</summary>
    public async ValueTask<bool> AnyAsync()
    {
        var isAny = await reader.ReadAsync();
        await reader.NextResultAsync();
        return isAny;
    }

    /// <summary>The first column of the first row of the next statement that can have rows; null if there is none.</summary>
    public async ValueTask<byte[]?> BytesAsync()
    {
        var bytes = await reader.ReadAsync() ? await reader.GetFieldValueAsync<byte[]>(0) : null;
        await reader.NextResultAsync();
        return bytes;
    }
}
