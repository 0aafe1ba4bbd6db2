using BnService.Api.Errors;

namespace BnService.Api.Hosting.Limits;

/// <summary>
/// The time that a request may take until it is answered (Limits:RequestTime), its key is revoked, or others need what it holds. It is over
/// for good once a change goes to the store: what has been changed is answered as what it is, and the store has times of its own.
/// </summary>
internal sealed class RequestDeadline : IDisposable
{
    private static readonly AsyncLocal<RequestDeadline?> Current = new();

    // What has come first decides: the change, or one of the ends.
    private const int Running = 0, Lifted = 1, Passed = 2, Revoked = 3, GaveWay = 4;

    private const string SlowText =
        "the body came so slowly that it would have held its memory for more than a minute, and others waited for it (Memory:BudgetBytes); "
        + "send it again over a better connection, or in smaller batches; nothing has changed";

    private const string RevokedText = "the key was rotated or revoked while the request was on its way; nothing has changed";

    private readonly CancellationTokenSource _time;
    private readonly CancellationTokenSource _either;
    private int _state;

    private RequestDeadline(TimeSpan most, TimeProvider time, CancellationToken aborted)
    {
        _time = new CancellationTokenSource(most, time);
        _either = CancellationTokenSource.CreateLinkedTokenSource(aborted);
        _time.Token.UnsafeRegister(static state => ((RequestDeadline)state!).End(Passed), this);
    }

    /// <summary>Takes the end of its time away from the request that runs here.</summary>
    /// <exception cref="OperationCanceledException">The time is over: nothing must be changed any more.</exception>
    public static void Lift()
    {
        if (Current.Value is { } deadline && Interlocked.CompareExchange(ref deadline._state, Lifted, Running) >= Passed)
            throw new OperationCanceledException(deadline._either.Token);
    }

    /// <summary>Ends the request: others wait for the memory that its body, which comes slowly, would hold for long.</summary>
    public void GiveWay() => End(GaveWay);

    /// <summary>Ends the request when its key is revoked, until what is returned is disposed.</summary>
    public CancellationTokenRegistration EndWith(CancellationToken revoked) =>
        revoked.UnsafeRegister(static state => ((RequestDeadline)state!).End(Revoked), this);

    /// <summary>Serves a request within the time.</summary>
    /// <param name="most">The time.</param>
    public static async Task ServeAsync(HttpContext context, RequestDelegate next, TimeSpan most, TimeProvider time)
    {
        var aborted = context.RequestAborted;
        using var deadline = new RequestDeadline(most, time, aborted);
        (Current.Value, RequestContext.Of(context).Deadline, context.RequestAborted) = (deadline, deadline, deadline._either.Token);
        try
        {
            await next(context);
            return;
        }
        catch (OperationCanceledException) when (Volatile.Read(ref deadline._state) >= Passed && !aborted.IsCancellationRequested)
        {
            // Answered below.
        }
        catch (Exception exception) when (HangUp.IsOne(exception, aborted))
        {
            HangUp.End(context);
            return;
        }
        finally
        {
            context.RequestAborted = aborted;
        }
        if (context.Response.HasStarted)
        {
            context.Abort();
            return;
        }
        // What has been said of an answer that does not come, its length above all.
        context.Response.Clear();
        if (Volatile.Read(ref deadline._state) == GaveWay) await ProblemAnswers.RefuseAsync(context, ProblemCode.RequestTimeout, SlowText);
        else if (Volatile.Read(ref deadline._state) == Revoked) await ProblemAnswers.RefuseAsync(
            context, ProblemCode.Unauthorized, RevokedText);
        else await ProblemAnswers.GiveUpAsync(
            context, $"the request took longer than {most} (Limits:RequestTime) and was given up; nothing has changed");
    }

    public void Dispose()
    {
        _time.Dispose();
        _either.Dispose();
    }

    private void End(int state)
    {
        if (Interlocked.CompareExchange(ref _state, state, Running) != Running) return;
        try
        {
            _either.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The request was over in this very moment.
        }
    }
}
