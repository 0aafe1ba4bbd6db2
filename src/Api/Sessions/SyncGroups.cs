using System.Diagnostics;
using System.Globalization;
using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Storage;
using BnService.Core;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>A rank of a group whose calls make one step together.</summary>
/// <param name="Group">Name of the group.</param>
/// <param name="Rank">The rank, from 0.</param>
/// <param name="WorldSize">Number of ranks.</param>
internal sealed record SyncRank(string Group, int Rank, int WorldSize);

/// <summary>What is done when all ranks are there.</summary>
/// <param name="Apply">New state from old; the same state if there is nothing to change. Throws to refuse, which then is the answer to all.</param>
/// <param name="Answer">What all ranks are told, given the state before and after.</param>
internal sealed record SyncCompletion(Func<SessionRecord, SessionRecord> Apply, Func<SessionRecord, SessionRecord, RememberedAnswer> Answer)
{
    /// <summary>Told of the state after the step, once it has been made.</summary>
    public Action<SessionRecord>? Made { get; init; }
}

/// <summary>
/// Joins the calls of all ranks of a step, on whatever nodes they are. Each rank puts what it contributes where all can see it; whoever sees
/// that all are there makes the change. The outcome, a success or a failure, is remembered in the same write as the change under the number
/// of the step, which the store takes once: so a step that has been made cannot time out, and one that has timed out cannot be made.
/// </summary>
internal sealed class SyncGroups(
    ISessionStore store, IContributions contributions, SessionCatalog catalog, StepWaits waits, IOptions<SyncOptions> options,
    SyncMeter meter, TimeProvider time)
{
    // Other nodes' outcomes are looked for so often; those of this node come by themselves.
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(2), LongestPause = TimeSpan.FromMilliseconds(50);

    // A node that has seen all ranks and died leaves the step to the others, who look for that so often.
    private static readonly TimeSpan CountInterval = TimeSpan.FromMilliseconds(500);

    /// <summary>Takes part in a step, and waits for the others.</summary>
    /// <param name="session">The session.</param>
    /// <param name="call">Which call it is.</param>
    /// <param name="rank">The rank.</param>
    /// <param name="terms">The rank's terms: its condition has to hold when the step is made, whoever makes it.</param>
    /// <param name="own">What it contributes.</param>
    /// <param name="complete">What is done when all are there, given what each has contributed, in the order of the ranks.</param>
    /// <param name="cancellationToken">Ends waiting, and takes back what was contributed.</param>
    /// <returns>What all ranks are told.</returns>
    /// <exception cref="ProblemException">A rank has not come in time, or the step was refused; nothing has changed.</exception>
    public async Task<RememberedAnswer> JoinAsync(
        LayerSession session, string call, SyncRank rank, ChangeTerms terms, RememberedAnswer own,
        Func<IReadOnlyList<RememberedAnswer>, SyncCompletion> complete, CancellationToken cancellationToken)
    {
        var begun = Stopwatch.GetTimestamp();
        var (topic, key) = ($"{call} {rank.Group}", terms.Key ?? AnswerKey.None);
        // Once all ranks have come, none must fail for want of memory.
        MemoryAccount.Expect(SessionCatalog.AnswerBytes + (64L * session.Current.Layer.Features));
        // A repetition of a call with a key is the same contribution.
        var nonce = key.Key.Length > 0 ? $"{key.Topic} {key.Key} {key.Fingerprint}" : Guid.NewGuid().ToString("N");
        while (true)
        {
            var step = new Step(session, topic, await NextNumberAsync(session.Id, topic, cancellationToken), rank, complete);
            var part = own with { Key = key, AllowedVersions = terms.AllowedVersions, JoinedAt = time.GetUtcNow() };
            var contribution = new StoredContribution(rank.Rank, rank.WorldSize, nonce, part.Encode().Content);
            using var wait = waits.Begin(step.Name);
            try
            {
                var present = await contributions.AddAsync(session.Id, topic, step.Number, contribution, cancellationToken);
                var outcome = await GiveUpAsync(step, contribution, present);
                if (outcome is null)
                {
                    RequireAgreement(step, key, contribution, present);
                    outcome = await WaitAsync(step, contribution, wait, cancellationToken);
                }
                // Over before this rank has come: the next one is this rank's.
                if (!outcome.Participants.Contains(nonce)) continue;
                if (outcome.ProblemCode is { } code) throw new ProblemException(ProblemCode.All[code], outcome.Detail!);
                return outcome;
            }
            catch
            {
                // Whatever ends the wait: nobody would be there for the answer.
                await TakeBackAsync(step, contribution);
                throw;
            }
            finally
            {
                meter.Waited(begun);
            }
        }
    }

    // Of a group that has made no step for long no outcome is kept: then the others are where somebody waits, if anybody does.
    private async Task<long> NextNumberAsync(string sessionId, string topic, CancellationToken cancellationToken) =>
        await store.FindLastAnswerAsync(sessionId, topic, cancellationToken) is { } last
            ? long.Parse(last.Key, CultureInfo.InvariantCulture) + 1
            : await contributions.FindStepAsync(sessionId, topic, cancellationToken) ?? 1;

    // A contribution that is older than any call waits has been left by a node that is gone: its step ends without the rank that finds it.
    private async Task<RememberedAnswer?> GiveUpAsync(Step step, StoredContribution mine, IReadOnlyList<StoredContribution> present)
    {
        var waiting = present.Where(other => other.Age <= options.Value.Timeout).ToList();
        if (waiting.Count == present.Count) return null;
        return await FailAsync(step, ProblemCode.SyncTimeout, TimeoutText(step, waiting), [.. present.Where(other => other.Nonce != mine.Nonce)]);
    }

    private static void RequireAgreement(Step step, AnswerKey key, StoredContribution mine, IReadOnlyList<StoredContribution> present)
    {
        var (rank, size) = (step.Rank.Rank, step.Rank.WorldSize);
        if (present.First(other => other.Rank == rank) is var there && there.Nonce != mine.Nonce)
        {
            if (Decode(there, withArrays: false) is var earlier && earlier.Key.Key == key.Key && key.Key.Length > 0) key.RequireSame(earlier);
            throw new ProblemException(ProblemCode.InvalidOption,
                $"rank {rank} of group '{step.Rank.Group}' has come to this step already with another call, which still waits for the others; a repetition needs its Idempotency-Key");
        }
        if (present.FirstOrDefault(other => other.WorldSize != size) is { } odd)
            throw new ProblemException(ProblemCode.InvalidOption, $"world_size must be the same for all ranks: rank {odd.Rank} says {odd.WorldSize}, rank {rank} says {size}");
    }

    private async Task<RememberedAnswer> WaitAsync(Step step, StoredContribution mine, StepWait wait, CancellationToken cancellationToken)
    {
        var (begun, counted, pause) = (time.GetTimestamp(), (long?)null, FirstPause);
        for (var isJustAdded = true; ;)
        {
            // Who waits here is told, however many outcomes have come since that only so many are kept of.
            var outcome = wait.Over.IsCompletedSuccessfully ? await wait.Over
                : await store.FindAnswerAsync(step.Session.Id, step.Topic, step.Key, cancellationToken) is { } stored ? RememberedAnswer.Decode(stored)
                : null;
            if (outcome is not null)
            {
                // What was added behind the end of the step has not been forgotten with it.
                if (isJustAdded) await TakeBackAsync(step, mine);
                return outcome;
            }
            isJustAdded = false;
            var isOver = time.GetElapsedTime(begun) >= options.Value.Timeout;
            if (isOver || counted is null || time.GetElapsedTime(counted.Value) >= CountInterval)
            {
                IReadOnlyList<StoredContribution> present;
                if (counted is null) present = await contributions.FindAsync(step.Session.Id, step.Topic, step.Number, cancellationToken);
                else
                {
                    await ((ICommits)catalog).RefreshAsync(step.Session);
                    // Who waits is there, although another call under the same key may have hung up and taken it back.
                    present = await contributions.AddAsync(step.Session.Id, step.Topic, step.Number, mine, cancellationToken);
                    isJustAdded = true;
                }
                counted = time.GetTimestamp();
                // Who says that there are others will be refused.
                if (present.Count == step.Rank.WorldSize && present.All(other => other.WorldSize == step.Rank.WorldSize)) return await CompleteAsync(step, present);
                if (isOver) return await FailAsync(step, ProblemCode.SyncTimeout, TimeoutText(step, present), present);
            }
            var left = options.Value.Timeout - time.GetElapsedTime(begun);
            var next = store.IsShared ? pause : CountInterval;
            if (next > left) next = left;
            await Task.WhenAny(wait.Over, Task.Delay(next > TimeSpan.Zero ? next : TimeSpan.Zero, time, cancellationToken));
            cancellationToken.ThrowIfCancellationRequested();
            pause = pause * 1.5 < LongestPause ? pause * 1.5 : LongestPause;
        }
    }

    private async Task<RememberedAnswer> CompleteAsync(Step step, IReadOnlyList<StoredContribution> present)
    {
        var parts = present.Select(part => Decode(part)).ToList();
        try
        {
            var completion = step.Complete(parts);
            return await OutcomeAsync(step, present, parts, completion with
            {
                Apply = record =>
                {
                    RequireConditions(parts, record.Layer.Version);
                    return completion.Apply(record);
                },
            });
        }
        catch (LayerException refusal)
        {
            return await FailAsync(step, ProblemException.CodeOf(refusal.Error), refusal.Message, present);
        }
        catch (ProblemException refusal) when (refusal.Code != ProblemCode.SessionNotFound)
        {
            return await FailAsync(step, refusal.Code, refusal.Message, present);
        }
    }

    private Task<RememberedAnswer> FailAsync(Step step, ProblemCode code, string detail, IReadOnlyList<StoredContribution> present) => OutcomeAsync(
        step, present, [], new(record => record, (_, after) => new(after.Layer.Version, 0) { ProblemCode = code.Code, Detail = detail }));

    // The outcome of the step: this one, unless another one has come first.
    private async Task<RememberedAnswer> OutcomeAsync(
        Step step, IReadOnlyList<StoredContribution> present, List<RememberedAnswer> parts, SyncCompletion completion)
    {
        RememberedAnswer? made = null;
        var key = new AnswerKey(step.Topic, step.Key, "");
        var committed = await catalog.ChangeAsync(step.Session, new SessionChange(completion.Apply)
        {
            Key = key,
            Remember = (before, after) =>
            {
                made = completion.Answer(before, after) with { Key = key, Participants = [.. present.Select(other => other.Nonce)] };
                // Each rank that has named its call finds the answer under that name as well.
                var named = parts.Where(part => part.Key.Key.Length > 0).Select(part => made with { Key = part.Key, StepId = part.StepId, Participants = [] });
                return [made, .. named];
            },
        }, CancellationToken.None);
        if (committed.Replayed is null)
        {
            meter.Ended(step.Topic.Split(' ')[0], made!.ProblemCode is not { } code ? "made" : code == ProblemCode.SyncTimeout.Code ? "timeout" : "refused");
            completion.Made?.Invoke(committed.State);
        }
        var outcome = committed.Replayed ?? made!;
        waits.End(step.Name, outcome);
        try
        {
            await contributions.ForgetAsync(step.Session.Id, step.Topic, step.Number, CancellationToken.None);
        }
        catch (StorageUnavailableException)
        {
            // The outcome is there; what is left of the step goes with the next one.
        }
        return outcome;
    }

    private static void RequireConditions(List<RememberedAnswer> parts, long version)
    {
        var rank = parts.FindIndex(part => part.AllowedVersions?.Contains(version) == false);
        if (rank < 0) return;
        throw new ProblemException(ProblemCode.VersionConflict,
            $"If-Match of rank {rank} allows {string.Join(", ", parts[rank].AllowedVersions!.Select(allowed => $"\"{allowed}\""))}, the session is at version \"{version}\"");
    }

    private async Task TakeBackAsync(Step step, StoredContribution mine)
    {
        try
        {
            await contributions.RemoveAsync(step.Session.Id, step.Topic, step.Number, mine.Rank, mine.Nonce, CancellationToken.None);
        }
        catch (StorageUnavailableException)
        {
            // It will be found out of date.
        }
    }

    // Contributions are written as answers are: the same numbers and arrays.
    private static RememberedAnswer Decode(StoredContribution contribution, bool withArrays = true)
    {
        var (topic, key) = contribution.Nonce.Split(' ') is [var first, var second, _] ? (first, second) : ("", "");
        return RememberedAnswer.Decode(new StoredAnswer(topic, key, contribution.Content), withArrays);
    }

    private string TimeoutText(Step step, IReadOnlyList<StoredContribution> present)
    {
        var missing = Enumerable.Range(0, step.Rank.WorldSize).Except(present.Select(other => other.Rank)).ToList();
        return string.Create(CultureInfo.InvariantCulture,
            $"of the {step.Rank.WorldSize} ranks of group '{step.Rank.Group}' {missing.Count} did not come within {options.Value.Timeout} (Sync:Timeout), the first of them rank {missing.FirstOrDefault()}; nothing has changed");
    }

    private sealed record Step(
        LayerSession Session, string Topic, long Number, SyncRank Rank, Func<IReadOnlyList<RememberedAnswer>, SyncCompletion> Complete)
    {
        public StepName Name => new(Session.Id, Topic, Number);

        public string Key => Number.ToString(CultureInfo.InvariantCulture);
    }
}
