using BnService.Api.Errors;
using BnService.Api.Storage;

namespace BnService.Api.Sessions;

/// <summary>Under which conditions a change is made.</summary>
/// <param name="Check">Throws to refuse, given the version that would be changed.</param>
/// <param name="Key">The name of the call, where its answer is to be remembered.</param>
internal sealed record ChangeTerms(Action<long> Check, AnswerKey? Key)
{
    /// <summary>No conditions, and nothing to remember.</summary>
    public static ChangeTerms None { get; } = new(_ => { }, null);

    /// <summary>The versions that <see cref="Check"/> lets pass, where another node has to check; null for any.</summary>
    public IReadOnlyList<long>? AllowedVersions { get; init; }
}

/// <summary>A change of a session, and its answer.</summary>
internal abstract record Change<T>(ChangeTerms Terms)
{
    /// <summary>
    /// New state from old; the same state if there is nothing to change; null if the change was prepared for another mode of the session.
    /// Throws to refuse. Applied again where another node was faster, so that it must depend on nothing but the state it is given.
    /// </summary>
    public abstract SessionRecord? Apply(SessionRecord before);

    public abstract T Answer(SessionRecord before, SessionRecord after);

    /// <summary>What is remembered of its answer: nothing without a key.</summary>
    public virtual IEnumerable<StoredReplay> Remember(T answer) => Terms.Key is { } key ? [Store(answer) with { Key = key }] : [];

    /// <summary>An answer as it is remembered.</summary>
    public abstract StoredReplay Store(T answer);

    /// <summary>The answer that was remembered.</summary>
    public abstract T Read(StoredReplay replay);

    /// <summary>Called when it is durable, before anybody who waits for it goes on.</summary>
    public virtual void Made(LayerSession session, Made<T> made)
    {
    }
}

/// <summary>A change that several ranks may make together.</summary>
internal abstract record JoinedChange<T>(ChangeTerms Terms) : Change<T>(Terms)
{
    public abstract string Call { get; }

    /// <summary>What this rank contributes.</summary>
    public abstract StoredReplay Part { get; }

    /// <summary>The change of all ranks, whose parts are in their order.</summary>
    /// <exception cref="Errors.ProblemException">The parts do not fit each other; all ranks are told so.</exception>
    public abstract JoinedChange<T> Of(IReadOnlyList<StoredReplay> parts);
}

/// <summary>An edit whose answer is the state after it, and is not remembered.</summary>
internal sealed record Edit(Func<SessionRecord, SessionRecord> Change) : Change<SessionRecord>(ChangeTerms.None)
{
    public override SessionRecord? Apply(SessionRecord before) => Change(before);

    public override SessionRecord Answer(SessionRecord before, SessionRecord after) => after;

    public override StoredReplay Store(SessionRecord answer) => throw new NotSupportedException("an edit has no key");

    public override SessionRecord Read(StoredReplay replay) => throw new NotSupportedException("an edit has no key");
}

/// <summary>The result of a commit: <see cref="Made{T}"/>, <see cref="Replayed{T}"/> or <see cref="Stale{T}"/>.</summary>
internal abstract record Committed<T>;

/// <summary>The change is durable.</summary>
/// <param name="Answer">Its answer.</param>
/// <param name="Before">The state that it was made on.</param>
/// <param name="State">The state after it.</param>
internal sealed record Made<T>(T Answer, SessionRecord Before, SessionRecord State) : Committed<T>;

/// <summary>The change was made before, or by another rank.</summary>
internal sealed record Replayed<T>(T Answer) : Committed<T>;

/// <summary>The change was prepared for another mode of the session, and not made.</summary>
internal sealed record Stale<T> : Committed<T>;

/// <summary>What is done again because another node has been faster: at once first, then after a while, and not forever.</summary>
internal static class Overtaken
{
    private const int AtOnce = 4, Most = 100;
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(40);

    /// <summary>Waits before it is done again.</summary>
    /// <param name="times">How often it has been done in vain.</param>
    /// <exception cref="StorageUnavailableException">That has been too often.</exception>
    public static async ValueTask WaitAsync(int times)
    {
        if (times >= Most)
        {
            throw new StorageUnavailableException(
                $"the session is changed elsewhere again and again ({times} attempts); nothing has changed", null);
        }
        // By chance, so that of several that meet one is first.
        if (times > AtOnce) await Task.Delay(LongestPause * (Random.Shared.NextDouble() * Math.Min(1, times / 20.0)));
    }
}

/// <summary>With whom a step is made.</summary>
internal interface IJoin
{
    /// <summary>Whether one call makes it by itself.</summary>
    bool IsAlone { get; }

    /// <summary>Makes a change once for all that take part in it.</summary>
    /// <returns>Of several ranks always <see cref="Replayed{T}"/>: what all of them are told.</returns>
    Task<Committed<T>> CommitAsync<T>(LayerSession session, JoinedChange<T> change, CancellationToken cancellationToken);
}

/// <summary>A call by itself.</summary>
internal sealed class Alone(Commits commits) : IJoin
{
    public bool IsAlone => true;

    public Task<Committed<T>> CommitAsync<T>(LayerSession session, JoinedChange<T> change, CancellationToken cancellationToken) =>
        commits.CommitAsync(session, change, cancellationToken);
}

/// <summary>A rank of a group whose calls make one step together.</summary>
/// <param name="Group">Name of the group.</param>
/// <param name="Rank">The rank, from 0.</param>
/// <param name="WorldSize">Number of ranks.</param>
internal sealed record SyncRank(string Group, int Rank, int WorldSize);

/// <summary>The ranks of a group, each of which makes the same call with its part of the batch.</summary>
internal sealed class Ranks(SyncGroups groups, SyncRank rank) : IJoin
{
    public bool IsAlone => false;

    public async Task<Committed<T>> CommitAsync<T>(LayerSession session, JoinedChange<T> change, CancellationToken cancellationToken)
    {
        change.Terms.Check(session.Current.Layer.Version);
        return new Replayed<T>(change.Read(await groups.JoinAsync(session, rank, change, cancellationToken)));
    }
}

/// <summary>What all ranks of a step are told.</summary>
/// <param name="Key">The name of the step.</param>
/// <param name="Participants">Who took part, by their nonces.</param>
internal sealed record Outcome(AnswerKey Key, IReadOnlyList<string> Participants)
{
    public ChangeTerms Terms => ChangeTerms.None with { Key = Key };

    public StoredReplay Tell(StoredReplay replay) => replay with { Key = Key, Participants = Participants };
}

/// <summary>The change of all ranks: each that has named its call finds the answer under that name as well.</summary>
internal sealed record JointChange<T>(JoinedChange<T> Change, IReadOnlyList<StoredReplay> Parts, Outcome Outcome)
    : Change<StoredReplay>(Outcome.Terms)
{
    private T? _answer;

    public override SessionRecord? Apply(SessionRecord before)
    {
        for (var rank = 0; rank < Parts.Count; rank++)
        {
            if (Parts[rank].AllowedVersions is not { } allowed || allowed.Contains(before.Layer.Version)) continue;
            throw new ProblemException(ProblemCode.VersionConflict,
                $"If-Match of rank {rank} allows {string.Join(", ", allowed.Select(version => $"\"{version}\""))}, "
                + $"the session is at version \"{before.Layer.Version}\"");
        }
        return Change.Apply(before);
    }

    public override StoredReplay Answer(SessionRecord before, SessionRecord after) =>
        Outcome.Tell(Change.Store(_answer = Change.Answer(before, after)));

    public override IEnumerable<StoredReplay> Remember(StoredReplay answer) =>
    [
        answer,
        .. Parts.Where(part => part.Key.Key.Length > 0)
            .Select(part => answer with { Key = part.Key, StepId = part.StepId, Participants = [] }),
    ];

    public override StoredReplay Store(StoredReplay answer) => answer;

    public override StoredReplay Read(StoredReplay replay) => replay;

    public override void Made(LayerSession session, Made<StoredReplay> made) =>
        Change.Made(session, new(_answer!, made.Before, made.State));
}

/// <summary>The end of a step that was refused, or whose ranks have not come: nothing changes.</summary>
internal sealed record Failure(ProblemCode Code, string Detail, Outcome Outcome) : Change<StoredReplay>(Outcome.Terms)
{
    public override SessionRecord? Apply(SessionRecord before) => before;

    public override StoredReplay Answer(SessionRecord before, SessionRecord after) =>
        Outcome.Tell(new(after.Layer.Version, 0) { ProblemCode = Code.Code, Detail = Detail });

    public override StoredReplay Store(StoredReplay answer) => answer;

    public override StoredReplay Read(StoredReplay replay) => replay;
}
