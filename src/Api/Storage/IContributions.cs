namespace BnService.Api.Storage;

/// <summary>What a rank contributes to a step that several ranks make together.</summary>
/// <param name="Rank">The rank.</param>
/// <param name="WorldSize">Number of ranks, as this one says.</param>
/// <param name="Nonce">Tells this contribution from any other one of the rank.</param>
/// <param name="Content">What it contributes, as bytes whose meaning the store does not know.</param>
internal sealed record StoredContribution(int Rank, int WorldSize, string Nonce, ReadOnlyMemory<byte> Content)
{
    /// <summary>How long it has been there, by the store's clock and no node's: those of two nodes need not agree. Zero where it is not stored yet.</summary>
    public TimeSpan Age { get; init; }
}

/// <summary>
/// Where the ranks of a step meet, on whatever node each of them is. Kept until the step is over; lost with the process where no other one
/// could look.
/// </summary>
internal interface IContributions
{
    /// <summary>Adds a contribution, unless the rank has made one to the step already.</summary>
    /// <returns>All contributions to the step by their ranks, the one that the rank has made among them.</returns>
    ValueTask<IReadOnlyList<StoredContribution>> AddAsync(
        string sessionId, string topic, long step, StoredContribution contribution, CancellationToken cancellationToken);

    /// <summary>All contributions to a step by their ranks.</summary>
    ValueTask<IReadOnlyList<StoredContribution>> FindAsync(string sessionId, string topic, long step, CancellationToken cancellationToken);

    /// <summary>The newest step of a topic that somebody has contributed to; null if there is none.</summary>
    ValueTask<long?> FindStepAsync(string sessionId, string topic, CancellationToken cancellationToken);

    /// <summary>Takes a contribution back; nothing where it is another one's or gone.</summary>
    ValueTask RemoveAsync(string sessionId, string topic, long step, int rank, string nonce, CancellationToken cancellationToken);

    /// <summary>Forgets the contributions to a step that is over, and to those before it.</summary>
    ValueTask ForgetAsync(string sessionId, string topic, long step, CancellationToken cancellationToken);
}
