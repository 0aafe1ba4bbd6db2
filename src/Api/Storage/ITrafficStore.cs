namespace BnService.Api.Storage;

/// <summary>What has lately passed through a session.</summary>
/// <param name="SessionId">The session.</param>
/// <param name="Node">The node that has seen it.</param>
/// <param name="Content">What it was, as bytes whose meaning the store does not know.</param>
internal sealed record StoredTraffic(string SessionId, string Node, ReadOnlyMemory<byte> Content);

/// <summary>Keeps what has lately passed through sessions, besides their states: nothing depends on it, and it may be a moment late.</summary>
internal interface ITrafficStore
{
    /// <summary>Replaces what a node has kept of sessions; of those that are gone nothing is kept.</summary>
    /// <param name="traffic">What there is of each session.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    /// <exception cref="StorageUnavailableException">It cannot be written now.</exception>
    ValueTask SaveTrafficAsync(IReadOnlyList<StoredTraffic> traffic, CancellationToken cancellationToken);

    /// <summary>What is kept of a session, by any node.</summary>
    /// <exception cref="StorageUnavailableException">It cannot be read now.</exception>
    ValueTask<IReadOnlyList<ReadOnlyMemory<byte>>> FindTrafficAsync(string sessionId, CancellationToken cancellationToken);
}
