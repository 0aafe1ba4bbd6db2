using System.Buffers.Binary;
using System.Security.Cryptography;

namespace BnService.Api.Storage;

/// <summary>What a list says of a session: who it is, how new, and the part of its state that is not arrays.</summary>
/// <param name="Id">Identifier; never used again.</param>
/// <param name="Name">Name; unique, and no other session's id.</param>
/// <param name="Kind">Kind of the layer, for listing.</param>
/// <param name="Version">Version of the state.</param>
/// <param name="CreatedAt">When the session was created.</param>
/// <param name="Header">What lists show of the state, as bytes whose meaning the store does not know.</param>
public record StoredHeader(string Id, string Name, string Kind, long Version, DateTimeOffset CreatedAt, ReadOnlyMemory<byte> Header)
{
    /// <summary>A stored time: one that a damaged row has, beyond all times, is the first or the last.</summary>
    internal static DateTimeOffset Time(long ticks) => new(Math.Clamp(ticks, 0, DateTimeOffset.MaxValue.UtcTicks), TimeSpan.Zero);
}

/// <summary>A session as a store keeps it.</summary>
/// <param name="Id">Identifier; never used again.</param>
/// <param name="Name">Name; unique, and no other session's id.</param>
/// <param name="Kind">Kind of the layer, for listing.</param>
/// <param name="Version">Version of the state.</param>
/// <param name="CreatedAt">When the session was created.</param>
/// <param name="Header">What lists show of the state, as bytes whose meaning the store does not know.</param>
/// <param name="State">The arrays of the state, as bytes whose meaning the store does not know.</param>
public sealed record StoredSession(
    string Id, string Name, string Kind, long Version, DateTimeOffset CreatedAt, ReadOnlyMemory<byte> Header, ReadOnlyMemory<byte> State)
    : StoredHeader(Id, Name, Kind, Version, CreatedAt, Header)
{
    /// <summary>Whose it is, for counting; null where it is nobody's. Does not change.</summary>
    public string? Owner { get; init; }

    /// <summary>Bytes of its state.</summary>
    public long Size => Header.Length + State.Length;

    /// <summary>Bytes of its arrays where they were too many to be read; else 0.</summary>
    public long Withheld { get; init; }

    /// <summary>
    /// The number of the write that makes this state, or has made it (<see cref="WriteMark"/>); 0 where that is not known.
    /// </summary>
    public long Mark { get; init; }

    /// <summary>The marks of the newest writes, as the store has them; empty where it keeps none, and where this is to be stored.</summary>
    public ReadOnlyMemory<byte> Writes { get; init; }

    /// <summary>Which state it is.</summary>
    public StoredVersion Stored => new(Version, Mark);

    /// <summary>
    /// Whether this state has come from an earlier one; null where that is not known, since there are many writes between them, or the
    /// store, which has no other writer, keeps no marks.
    /// </summary>
    public bool? Follows(StoredVersion earlier)
    {
        if (Version < earlier.Number) return false;
        if (Stored.Is(earlier)) return true;
        return earlier.Mark == 0 || Writes.IsEmpty ? null : new WriteMark(earlier.Number, earlier.Mark)
            .IsAmong(Writes.Span, earlier.Number);
    }
}

/// <summary>A state of a session that has been frozen.</summary>
/// <param name="SessionId">Whose state it is.</param>
/// <param name="Version">The version that the session had.</param>
/// <param name="Header">What lists show of it, as bytes whose meaning the store does not know.</param>
/// <param name="State">The arrays of the state; empty in a list.</param>
public sealed record StoredSnapshot(string SessionId, long Version, ReadOnlyMemory<byte> Header, ReadOnlyMemory<byte> State)
{
    /// <summary>Bytes of the state.</summary>
    public long Size => Header.Length + State.Length;

    /// <inheritdoc cref="StoredSession.Withheld"/>
    public long Withheld { get; init; }
}

/// <summary>What is remembered of an answer, so that the same question is answered the same way again.</summary>
/// <param name="Topic">
/// What kind of question it was; of each session and topic the newest <see cref="Kept"/> are kept. Of topics with a space, whose ends are
/// names that callers choose, the newest <see cref="KeptOfGroups"/> are kept over all of a session.
/// </param>
/// <param name="Key">Names the question; unique in the session and topic.</param>
/// <param name="Content">What is remembered, as bytes whose meaning the store does not know.</param>
public sealed record StoredAnswer(string Topic, string Key, ReadOnlyMemory<byte> Content)
{
    /// <summary>
    /// Answers of more bytes than this count among what is stored of an owner: those with arrays of the size of the state.
    /// </summary>
    public const int LargeBytes = 4 << 10;

    /// <summary>What it counts for.</summary>
    public long CountedBytes => Content.Length > LargeBytes ? Content.Length : 0;

    /// <summary>How many are kept of each topic of a session.</summary>
    public const int Kept = 256;

    /// <summary>
    /// How many are kept of all groups of a session together: more than can be asked for at one time, however many names there are.
    /// </summary>
    public const int KeptOfGroups = 512;

    /// <summary>How many more there may be: those of groups are looked through once for so many that come.</summary>
    public const int Slack = 64;

    /// <summary>Whether the topic is that of a group, of which there may be any number.</summary>
    public bool IsOfGroup => Topic.Contains(' ', StringComparison.Ordinal);
}

/// <summary>What is stored of an owner.</summary>
/// <param name="Owner">Whose; null for what is nobody's.</param>
/// <param name="Sessions">Number of sessions.</param>
/// <param name="Bytes">Bytes of what is stored.</param>
public sealed record StoredUsage(string? Owner, long Sessions, long Bytes);

/// <summary>Which sessions to list, newest first.</summary>
/// <param name="Prefix">Beginning of their names, or null.</param>
/// <param name="Kind">Their kind, or null.</param>
/// <param name="Limit">The most to return.</param>
/// <param name="After">The last session of the page before, or null for the first page.</param>
public sealed record SessionQuery(string? Prefix, string? Kind, int Limit, SessionPosition? After)
{
    /// <summary>Part of their names, in small or capital letters, or null.</summary>
    public string? Search { get; init; }

    /// <summary>The last session to look at, or null to go to the oldest.</summary>
    public SessionPosition? Through { get; init; }

    /// <summary>Whether sessions that are looked at may not be listed.</summary>
    public bool IsFiltered => !string.IsNullOrEmpty(Prefix) || Kind is not null || Search is not null;
}

/// <summary>A place in the order of creation.</summary>
/// <param name="CreatedAt">When the session there was created.</param>
/// <param name="Id">Its id, which orders sessions of the same instant.</param>
public readonly record struct SessionPosition(DateTimeOffset CreatedAt, string Id) : IComparable<SessionPosition>
{
    /// <inheritdoc/>
    public int CompareTo(SessionPosition other) =>
        CreatedAt.CompareTo(other.CreatedAt) is var order and not 0 ? order : string.CompareOrdinal(Id, other.Id);
}

/// <summary>
/// The sign that a write leaves in what it writes. It tells two states of one version number apart, which there are where a database has
/// gone back, and it tells whether a write was made when the connection broke before the answer: a session keeps those of its newest
/// writes.
/// </summary>
/// <param name="Version">The version that was written.</param>
/// <param name="Number">A number that nobody else draws; never 0.</param>
internal readonly record struct WriteMark(long Version, long Number)
{
    /// <summary>Bytes of one: the version and the number, the highest byte first.</summary>
    public const int Length = sizeof(long) + sizeof(long);

    /// <summary>
    /// Bytes of those that a session keeps: 32 writes, of which only those matter that are made while a connection is made anew.
    /// </summary>
    public const int Kept = 32 * Length;

    /// <summary>The mark as it is stored.</summary>
    public byte[] Bytes
    {
        get
        {
            var bytes = new byte[Length];
            BinaryPrimitives.WriteInt64BigEndian(bytes, Version);
            BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(sizeof(long)), Number);
            return bytes;
        }
    }

    /// <summary>A number that no other write has.</summary>
    public static long Draw()
    {
        Span<byte> bytes = stackalloc byte[sizeof(long)];
        long number;
        do
        {
            RandomNumberGenerator.Fill(bytes);
            number = BinaryPrimitives.ReadInt64BigEndian(bytes);
        }
        while (number == 0);
        return number;
    }

    /// <summary>A mark that no other write has.</summary>
    /// <param name="version">The version that is written.</param>
    public static WriteMark New(long version) => new(version, Draw());

    /// <summary>The number of the write that has made a session's state; 0 where it has none.</summary>
    /// <param name="writes">The session's marks, that of its state first.</param>
    public static long NumberOf(ReadOnlySpan<byte> writes) =>
        writes.Length < Length ? 0 : BinaryPrimitives.ReadInt64BigEndian(writes[sizeof(long)..]);

    /// <summary>Whether the write was made, by the marks that a session has; null where they do not reach back to it.</summary>
    /// <param name="writes">The session's marks, that of its state first and then the newest first.</param>
    /// <param name="expectedVersion">The version that the write starts from.</param>
    public bool? IsAmong(ReadOnlySpan<byte> writes, long expectedVersion)
    {
        var reachesBack = writes.Length < Kept;
        for (var rest = writes; rest.Length >= Length; rest = rest[Length..])
        {
            var version = BinaryPrimitives.ReadInt64BigEndian(rest);
            if (version == Version && NumberOf(rest) == Number) return true;
            reachesBack |= version < expectedVersion;
        }
        return reachesBack ? false : null;
    }
}

/// <summary>
/// A state that is stored: the number of a version alone is not enough, for a database that has gone back gives it a second time.
/// </summary>
/// <param name="Number">The version.</param>
/// <param name="Mark">The number of the write that has made it (<see cref="WriteMark"/>); 0 where that is not known.</param>
public readonly record struct StoredVersion(long Number, long Mark)
{
    /// <summary>A version whose write is not known.</summary>
    public static implicit operator StoredVersion(long number) => FromInt64(number);

    /// <inheritdoc cref="op_Implicit(long)"/>
    public static StoredVersion FromInt64(long number) => new(number, 0);

    /// <summary>Whether both are one state, as far as that is known.</summary>
    public bool Is(StoredVersion other) => Number == other.Number && (Mark == other.Mark || Mark == 0 || other.Mark == 0);
}
