using System.Buffers.Binary;
using System.Security.Cryptography;

namespace BnService.Api.Storage.Postgres;

/// <summary>
/// The sign that a write leaves in what it writes, so that it can be told whether it was made when the connection broke before the answer:
/// its own and those of the writes before it, newest first, lie in the column <c>writes</c> of a session.
/// </summary>
internal readonly struct WriteMark
{
    /// <summary>Bytes of one: the version that was written, and a number that nobody else draws.</summary>
    public const int Length = sizeof(long) + sizeof(long);

    /// <summary>Bytes of those that a session keeps: 32 writes, of which only those matter that are made while a connection is made anew.</summary>
    public const int Kept = 32 * Length;

    private readonly byte[] _bytes;

    private WriteMark(byte[] bytes) => _bytes = bytes;

    /// <summary>The mark itself.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes;

    /// <summary>A mark that no other write has.</summary>
    /// <param name="version">The version that is written.</param>
    public static WriteMark New(long version)
    {
        var bytes = new byte[Length];
        BinaryPrimitives.WriteInt64BigEndian(bytes, version);
        RandomNumberGenerator.Fill(bytes.AsSpan(sizeof(long)));
        return new(bytes);
    }

    /// <summary>Whether the write was made, by the marks that a session has; null where they do not reach back to it.</summary>
    /// <param name="writes">The session's marks, newest first.</param>
    /// <param name="expectedVersion">The version that the write starts from.</param>
    public bool? IsAmong(ReadOnlySpan<byte> writes, long expectedVersion)
    {
        var reachesBack = writes.Length < Kept;
        for (var rest = writes; rest.Length >= Length; rest = rest[Length..])
        {
            if (rest[..Length].SequenceEqual(_bytes)) return true;
            reachesBack |= BinaryPrimitives.ReadInt64BigEndian(rest) < expectedVersion;
        }
        return reachesBack ? false : null;
    }
}
