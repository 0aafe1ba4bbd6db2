using System.Buffers.Binary;
using System.Security.Cryptography;

namespace BnService.Api.Storage;

/// <summary>
/// The sign that a write leaves in what it writes. It tells two states of one version number apart, which there are where a database has gone
/// back, and it tells whether a write was made when the connection broke before the answer: a session keeps those of its newest writes.
/// </summary>
/// <param name="Version">The version that was written.</param>
/// <param name="Number">A number that nobody else draws; never 0.</param>
internal readonly record struct WriteMark(long Version, long Number)
{
    /// <summary>Bytes of one: the version and the number, the highest byte first.</summary>
    public const int Length = sizeof(long) + sizeof(long);

    /// <summary>Bytes of those that a session keeps: 32 writes, of which only those matter that are made while a connection is made anew.</summary>
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
    public static long NumberOf(ReadOnlySpan<byte> writes) => writes.Length < Length ? 0 : BinaryPrimitives.ReadInt64BigEndian(writes[sizeof(long)..]);

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

/// <summary>A state that is stored: the number of a version alone is not enough, for a database that has gone back gives it a second time.</summary>
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
