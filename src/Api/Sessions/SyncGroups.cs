using System.Diagnostics;
using System.Globalization;
using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Storage;
using BnService.Core;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// Joins the calls of all ranks of a step, on whatever nodes they are. Each rank puts what it contributes where all can see it; the
/// first that sees that all are there makes the change. The outcome, a success or a failure, is remembered in the same write as the
/// change under the number of the step, which the store takes once: a step that has been made cannot time out, and one that has timed
/// out cannot be made.
/// </summary>
internal sealed class SyncGroups(
    ISessionStore store, IContributions contributions, Commits commits, StepWaits waits, IOptions<SyncOptions> options, SyncMeter meter,
    TimeProvider time)
{
    // Other nodes' outcomes are looked for so often; those of this node come by themselves.
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(2), LongestPause = TimeSpan.FromMilliseconds(50);

    // A node that has seen all ranks and died leaves the step to the others, who look for that so often.
    private static readonly TimeSpan CountInterval = TimeSpan.FromMilliseconds(500);

    /// <summary>Takes part in a step, and waits for the others.</summary>
    /// <param name="session">The session.</param>
    /// <param name="rank">The rank.</param>
    /// <param name="change">The change; its conditions have to hold when the step is made, on whatever node.</param>
    /// <param name="cancellationToken">Ends waiting, and takes back what was contributed.</param>
    /// <returns>What all ranks are told.</returns>
    /// <exception cref="ProblemException">A rank has not come in time, or the step was refused; nothing has changed.</exception>
    public async Task<StoredReplay> JoinAsync<T>(
        LayerSession session, SyncRank rank, JoinedChange<T> change, CancellationToken cancellationToken)
    {
        var begun = Stopwatch.GetTimestamp();
        var (topic, key) = ($"{change.Call} {rank.Group}", change.Terms.Key ?? AnswerKey.None);
        // Once all ranks have come, none must fail for want of memory.
        MemoryAccount.Expect(Commits.AnswerBytes + (64L * session.Current.Layer.Features));
        // A repetition of a call with a key is the same contribution.
        var nonce = key.Key.Length > 0 ? $"{key.Topic} {key.Key} {key.Fingerprint}" : Guid.NewGuid().ToString("N");
        while (true)
        {
            var step = new Step<T>(session, topic, await NextNumberAsync(session.Id, topic, cancellationToken), rank, change);
            var part = change.Part with { Key = key, AllowedVersions = change.Terms.AllowedVersions, JoinedAt = time.GetUtcNow() };
            var contribution = new StoredContribution(rank.Rank, rank.WorldSize, nonce, part.Encode().Content);
            using var wait = waits.Begin(step.Name);
            try
            {
                var present = await contributions.AddAsync(session.Id, topic, step.Number, contribution, cancellationToken);
                var outcome = await GiveUpAsync(step, contribution, present);
                if (outcome is null)
                {
                    RequireAgreement(rank, key, contribution, present);
                    outcome = await WaitAsync(step, contribution, wait.Over, cancellationToken);
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
    private async Task<StoredReplay?> GiveUpAsync<T>(Step<T> step, StoredContribution mine, IReadOnlyList<StoredContribution> present)
    {
        var waiting = present.Where(other => other.Age <= options.Value.Timeout).ToList();
        if (waiting.Count == present.Count) return null;
        return await TimeOutAsync(step, waiting, [.. present.Where(other => other.Nonce != mine.Nonce)]);
    }

    private static void RequireAgreement(SyncRank mine, AnswerKey key, StoredContribution own, IReadOnlyList<StoredContribution> present)
    {
        var (rank, size) = (mine.Rank, mine.WorldSize);
        if (present.First(other => other.Rank == rank) is var there && there.Nonce != own.Nonce)
        {
            var earlier = Decode(there, withArrays: false);
            if (earlier.Key.Key == key.Key && key.Key.Length > 0) key.RequireSame(earlier);
            throw new ProblemException(ProblemCode.InvalidOption,
                $"rank {rank} of group '{mine.Group}' has come to this step already with another call, which still waits for the others; "
                + "a repetition needs its Idempotency-Key");
        }
        if (present.FirstOrDefault(other => other.WorldSize != size) is not { } odd) return;
        throw new ProblemException(ProblemCode.InvalidOption,
            $"world_size must be the same for all ranks: rank {odd.Rank} says {odd.WorldSize}, rank {rank} says {size}");
    }

    private async Task<StoredReplay> WaitAsync<T>(
        Step<T> step, StoredContribution mine, Task<StoredReplay> over, CancellationToken cancellationToken)
    {
        var (begun, counted, pause) = (time.GetTimestamp(), (long?)null, FirstPause);
        for (var isJustAdded = true; ;)
        {
            // A call that waits here is told, however many outcomes have come since that only so many are kept of.
            var outcome = over.IsCompletedSuccessfully ? await over
                : await store.FindAnswerAsync(step.Session.Id, step.Topic, step.Key, cancellationToken) is { } stored
                    ? StoredReplay.Decode(stored)
                : null;
            if (outcome is not null)
            {
                // What was added after the end of the step has not been forgotten with it.
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
                    await commits.RefreshAsync(step.Session);
                    // A call that waits is there, although another one under the same key may have hung up and taken it back.
                    present = await contributions.AddAsync(step.Session.Id, step.Topic, step.Number, mine, cancellationToken);
                    isJustAdded = true;
                }
                counted = time.GetTimestamp();
                // A rank that says that there are others will be refused.
                var size = step.Rank.WorldSize;
                if (present.Count == size && present.All(other => other.WorldSize == size)) return await CompleteAsync(step, present);
                if (isOver) return await TimeOutAsync(step, present, present);
            }
            var left = options.Value.Timeout - time.GetElapsedTime(begun);
            var next = store.IsShared ? pause : CountInterval;
            if (next > left) next = left;
            await Task.WhenAny(over, Task.Delay(next > TimeSpan.Zero ? next : TimeSpan.Zero, time, cancellationToken));
            cancellationToken.ThrowIfCancellationRequested();
            pause = pause * 1.5 < LongestPause ? pause * 1.5 : LongestPause;
        }
    }

    private async Task<StoredReplay> CompleteAsync<T>(Step<T> step, IReadOnlyList<StoredContribution> present)
    {
        try
        {
            var parts = present.Select(part => Decode(part)).ToList();
            return await EndAsync(step, new JointChange<T>(step.Change.Of(parts), parts, OutcomeOf(step, present)));
        }
        catch (LayerException refusal)
        {
            return await EndAsync(step, new Failure(ProblemException.CodeOf(refusal.Error), refusal.Message, OutcomeOf(step, present)));
        }
        catch (ProblemException refusal) when (refusal.Code != ProblemCode.SessionNotFound)
        {
            return await EndAsync(step, new Failure(refusal.Code, refusal.Message, OutcomeOf(step, present)));
        }
    }

    private Task<StoredReplay> TimeOutAsync<T>(
        Step<T> step, IReadOnlyList<StoredContribution> there, IReadOnlyList<StoredContribution> told)
    {
        var (group, size) = (step.Rank.Group, step.Rank.WorldSize);
        var missing = Enumerable.Range(0, size).Except(there.Select(other => other.Rank)).ToList();
        var detail = string.Create(CultureInfo.InvariantCulture,
            $"of the {size} ranks of group '{group}' {missing.Count} did not come within {options.Value.Timeout} (Sync:Timeout), "
            + $"the first of them rank {missing.FirstOrDefault()}; nothing has changed");
        return EndAsync(step, new Failure(ProblemCode.SyncTimeout, detail, OutcomeOf(step, told)));
    }

    private static Outcome OutcomeOf<T>(Step<T> step, IReadOnlyList<StoredContribution> present) =>
        new(new AnswerKey(step.Topic, step.Key, ""), [.. present.Select(other => other.Nonce)]);

    // The outcome of the step: this one, unless another one has come first.
    private async Task<StoredReplay> EndAsync<T>(Step<T> step, Change<StoredReplay> change)
    {
        var committed = await commits.CommitAsync(step.Session, change, CancellationToken.None);
        var outcome = committed is Made<StoredReplay> { Answer: var made } ? made : ((Replayed<StoredReplay>)committed).Answer;
        if (committed is Made<StoredReplay>)
        {
            meter.Ended(step.Topic.Split(' ')[0],
                outcome.ProblemCode is not { } code ? "made" : code == ProblemCode.SyncTimeout.Code ? "timeout" : "refused");
        }
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

    private async Task TakeBackAsync<T>(Step<T> step, StoredContribution mine)
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

    // Contributions are written as replays are: the same numbers and arrays.
    private static StoredReplay Decode(StoredContribution contribution, bool withArrays = true)
    {
        var (topic, key) = contribution.Nonce.Split(' ') is [var first, var second, _] ? (first, second) : ("", "");
        return StoredReplay.Decode(new StoredAnswer(topic, key, contribution.Content), withArrays);
    }

    private sealed record Step<T>(LayerSession Session, string Topic, long Number, SyncRank Rank, JoinedChange<T> Change)
    {
        public StepName Name => new(Session.Id, Topic, Number);

        public string Key => Number.ToString(CultureInfo.InvariantCulture);
    }
}

/// <summary>A step of several ranks, by what all nodes know it by.</summary>
/// <param name="SessionId">The session.</param>
/// <param name="Topic">The call and the group.</param>
/// <param name="Number">Its number.</param>
internal sealed record StepName(string SessionId, string Topic, long Number);

/// <summary>
/// The calls of this node that wait for steps of several ranks to be over. Nothing is kept of a step for which none waits.
/// </summary>
internal sealed class StepWaits
{
    private readonly Lock _lock = new();
    private readonly Dictionary<StepName, (TaskCompletionSource<StoredReplay> Over, int Calls)> _steps = [];

    public int Count
    {
        get
        {
            lock (_lock) return _steps.Values.Sum(step => step.Calls);
        }
    }

    /// <summary>Waits for a step, until the wait is disposed.</summary>
    public StepWait Begin(StepName step)
    {
        lock (_lock)
        {
            var (over, calls) = _steps.GetValueOrDefault(step, (new(TaskCreationOptions.RunContinuationsAsynchronously), 0));
            _steps[step] = (over, calls + 1);
            return new StepWait(this, step, over.Task);
        }
    }

    /// <summary>Tells all that wait for a step its outcome.</summary>
    public void End(StepName step, StoredReplay outcome)
    {
        lock (_lock)
        {
            if (_steps.TryGetValue(step, out var waiting)) waiting.Over.TrySetResult(outcome);
        }
    }

    private void Leave(StepName step)
    {
        lock (_lock)
        {
            var (over, calls) = _steps[step];
            if (calls == 1) _steps.Remove(step);
            else _steps[step] = (over, calls - 1);
        }
    }

    /// <summary>A call that waits for a step; Over ends with the outcome, where this node comes to know that by itself.</summary>
    internal sealed record StepWait(StepWaits Waits, StepName Step, Task<StoredReplay> Over) : IDisposable
    {
        public void Dispose() => Waits.Leave(Step);
    }
}
