namespace BnService.Api.Sessions;

/// <summary>A change of a session.</summary>
/// <param name="Apply">
/// New state from old; the same state if there is nothing to change. Throws to refuse. Applied again where another node was faster, so
/// that it must depend on nothing but the state it is given.
/// </param>
internal sealed record SessionChange(Func<SessionRecord, SessionRecord> Apply)
{
    /// <summary>The question that the change answers; null where its answer is not remembered.</summary>
    public AnswerKey? Key { get; init; }

    /// <summary>What is remembered of its answer, given the state before and after it: under <see cref="Key"/>, and more.</summary>
    public Func<SessionRecord, SessionRecord, IEnumerable<RememberedAnswer>>? Remember { get; init; }
}

/// <summary>A change that is durable.</summary>
/// <param name="Before">The state that it was made on.</param>
/// <param name="State">The state after it.</param>
/// <param name="Replayed">How it was answered when it was made, where that was before this time; null where it has been made now.</param>
internal sealed record CommittedChange(SessionRecord Before, SessionRecord State, RememberedAnswer? Replayed);
