using System.Diagnostics;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Storage;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>Makes changes of sessions durable: one at a time for each session, and those that wait together as one write.</summary>
internal sealed class Commits(
    ISessionStore store, ResidentSessions resident, NewestStates newest, LargeWrites large, StoredBytes bytes, CommitMeter meter,
    SessionActivity activity, IOptions<LimitOptions> limits, TimeProvider time)
{
    /// <summary>What an answer takes besides its tensors: chunks of text, and copies of small arrays.</summary>
    public const int AnswerBytes = 64 << 10;

    // An answer has the mean and the variance of a batch, or both parameters.
    private const long AnswerArrays = 2 * sizeof(double);

    /// <summary>Makes a change; it is durable when the task ends.</summary>
    /// <param name="session">The session.</param>
    /// <param name="change">The change.</param>
    /// <param name="cancellationToken">Ends waiting; a change that waits is made all the same.</param>
    public Task<Committed<T>> CommitAsync<T>(LayerSession session, Change<T> change, CancellationToken cancellationToken)
    {
        // What has changed must be answered: the memory for that is there before.
        MemoryAccount.Expect(AnswerBytes + (AnswerArrays * session.Current.Layer.Features));
        RequestDeadline.Lift();
        var waiting = new WaitingChange<T>(this, change, meter.Added());
        if (session.Commits.Add(waiting)) _ = RunAsync(session);
        var committing = waiting.Result.WaitAsync(cancellationToken);
        return Spans.AreSeen ? SeenAsync(committing) : committing;
    }

    /// <summary>What is remembered of the answer to a call; null if that is nothing, or the call has no key.</summary>
    /// <exception cref="Errors.ProblemException">The key was used for another request.</exception>
    public async ValueTask<StoredReplay?> FindAsync(LayerSession session, AnswerKey? key, CancellationToken cancellationToken)
    {
        if (key is null) return null;
        var replay = await FindAsync(session, key).AsTask().WaitAsync(cancellationToken);
        if (replay is null) return null;
        key.RequireSame(replay);
        // A repetition is counted as a change that has waited for nothing.
        meter.Taken(meter.Added());
        return replay;
    }

    /// <summary>Takes over what another node has stored.</summary>
    /// <exception cref="Errors.ProblemException">The session is gone.</exception>
    public async Task RefreshAsync(LayerSession session)
    {
        if (!await newest.TryRefreshAsync(session, CancellationToken.None)) throw SessionCatalog.NotFound(session.Current.Name);
    }

    private async ValueTask<StoredReplay?> FindAsync(LayerSession session, AnswerKey key)
    {
        for (var times = 1; ; times++)
        {
            if (await store.FindAnswerAsync(session.Id, key.Topic, key.Key, CancellationToken.None) is not { } stored) return null;
            var replay = StoredReplay.Decode(stored);
            if (!store.IsShared || replay.Version <= session.Current.Layer.Version) return replay;
            // Another node has made it; or the state went back to a version before it, and the change that it tells of is lost.
            await RefreshAsync(session);
            var current = session.Current;
            if (replay.Version <= current.Layer.Version) return replay;
            if (await store.TryForgetAnswerAsync(session.Id, key.Topic, key.Key, current.Stored, CancellationToken.None)) return null;
            await Overtaken.WaitAsync(times);
        }
    }

    private async Task RunAsync(LayerSession session)
    {
        for (var isFirst = true; session.Commits.Take() is { } together; isFirst = false)
        {
            // The caller who came first works for itself, and not for all that come meanwhile.
            if (!isFirst) await Task.Yield();
            together.ForEach(change => meter.Taken(change.AddedAt));
            try
            {
                await CommitAsync(session, together);
                together.ForEach(change => change.Finish(session));
            }
            catch (Exception exception)
            {
                together.ForEach(change => change.Fail(exception));
            }
        }
    }

    private async Task CommitAsync(LayerSession session, List<WaitingChange> together)
    {
        for (var times = 1; ; times++)
        {
            var write = new Write(session, session.Current);
            foreach (var change in together) await change.ApplyAsync(write, isAgain: times > 1);
            var begun = Stopwatch.GetTimestamp();
            if (write.IsNothing || await TryStoreAsync(write, together.Count, begun)) return;
            await Overtaken.WaitAsync(times);
            await RefreshAsync(session);
            // Where the state is the same, a repetition of the call was faster, and no other node.
            if (!ReferenceEquals(session.Current, write.Current)) meter.Written(begun, together.Count, isStored: false);
        }
    }

    // False where the stored state is no longer the one that the write was made from, or one of the answers is there.
    private async Task<bool> TryStoreAsync(Write write, int changes, long begun)
    {
        var next = write.State;
        try
        {
            using var turn = await large.EnterAsync(next.Writer, next.ResidentBytes, CancellationToken.None);
            var (stored, replays) = (SessionEncoding.Encode(next), write.Replays.ConvertAll(replay => replay.Encode()));
            next.StoredSize = stored.Size;
            var more = next.StoredSize - write.Current.StoredSize + replays.Sum(replay => replay.CountedBytes);
            using var room = await bytes.TakeAsync(next.Owner, more, CancellationToken.None);
            if (!await store.TryUpdateAsync(stored, write.Current.Stored, replays, CancellationToken.None)) return false;
            meter.Written(begun, changes, isStored: true);
            room.Keep();
        }
        catch
        {
            meter.Failed();
            throw;
        }
        Publish(write.Session, next);
        return true;
    }

    private void Publish(LayerSession session, SessionRecord next)
    {
        session.Publish(next);
        activity.Touch(next);
        if (resident.Peek(next.Id) is not { } here) return;
        // Another one than the caller's where that has left memory since.
        if (!ReferenceEquals(here, session)) here.Publish(next);
        resident.Measure(here);
    }

    private static async Task<Committed<T>> SeenAsync<T>(Task<Committed<T>> committing)
    {
        using var span = Spans.Of(Spans.Commit);
        try
        {
            var committed = await committing;
            if (committed is Made<T> made) span.Tag(Spans.Version, made.State.Layer.Version);
            return committed;
        }
        catch
        {
            span.Fail();
            throw;
        }
    }

    private sealed class WaitingChange<T>(Commits commits, Change<T> change, long addedAt) : WaitingChange(addedAt)
    {
        // Continuations run asynchronously, so that a waiter's code never runs on the queue's thread.
        private readonly TaskCompletionSource<Committed<T>> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private Committed<T>? _committed;
        private Exception? _refusal;

        public Task<Committed<T>> Result => _result.Task;

        public override async ValueTask ApplyAsync(Write write, bool isAgain)
        {
            (_committed, _refusal) = (null, null);
            var before = write.State;
            try
            {
                if (change.Terms.Key is { } key && (isAgain || write.Find(key) is not null) && await FindAsync(write, key)) return;
                await MakeAsync(write, before);
            }
            catch (Exception exception) when (ReferenceEquals(write.State, before))
            {
                try
                {
                    // A call that has been made already is not refused, although it could not be made now.
                    if (change.Terms.Key is { } key && !isAgain && await FindAsync(write, key)) return;
                }
                catch (Exception other)
                {
                    exception = other;
                }
                _refusal = exception;
            }
        }

        public override void Finish(LayerSession session)
        {
            if (_committed is Made<T> made) change.Made(session, made);
            if (_refusal is not null) _result.TrySetException(_refusal);
            else _result.TrySetResult(_committed!);
        }

        public override void Fail(Exception exception) => _result.TrySetException(_refusal ?? exception);

        private async ValueTask MakeAsync(Write write, SessionRecord before)
        {
            change.Terms.Check(before.Layer.Version);
            if (change.Apply(before) is not { } next)
            {
                _committed = new Stale<T>();
                return;
            }
            if (!ReferenceEquals(next, before))
            {
                commits.RequireFeatures(next.Layer.Features);
                next = next with { UpdatedAt = commits.Now, Mark = WriteMark.Draw(), Damage = Damage.None };
            }
            var answer = change.Answer(before, next);
            var replays = change.Remember(answer).ToList();
            write.State = next;
            foreach (var replay in replays)
            {
                // Of what is remembered besides the change's own answer, something may be there.
                if (ReferenceEquals(replay.Key, change.Terms.Key) || await EarlierAsync(write, replay.Key) is null)
                    write.Replays.Add(replay);
            }
            _committed = new Made<T>(answer, before, next);
        }

        private async ValueTask<bool> FindAsync(Write write, AnswerKey key)
        {
            if (await EarlierAsync(write, key) is not { } replay) return false;
            key.RequireSame(replay);
            _committed = new Replayed<T>(change.Read(replay));
            return true;
        }

        private async ValueTask<StoredReplay?> EarlierAsync(Write write, AnswerKey key) =>
            write.Find(key) ?? await commits.FindAsync(write.Session, key);
    }

    private DateTimeOffset Now => time.GetUtcNow();

    private void RequireFeatures(int features) => Computing.RequireFeatures(limits.Value, features);
}
