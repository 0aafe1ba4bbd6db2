using BnService.Api.Errors;
using BnService.Api.Hosting.Limits;

namespace BnService.Api.Sessions;

/// <summary>
/// Whoever looks through many sessions does so in turn, one of a key and one of all at a time, and rests as long as it has worked: the
/// database and this machine belong to those who train.
/// </summary>
internal sealed class LookingTurns(TimeProvider time) : IDisposable
{
    // Who waits longer is better told to come again.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5), LongestRest = TimeSpan.FromMilliseconds(200);

    private readonly SemaphoreSlim _all = new(1);
    private readonly CallerGates _ofCallers = new(1);

    /// <summary>A turn of a caller's, which has not come yet.</summary>
    public LookingTurn Of(SessionScope scope) => new(this, scope.Caller);

    /// <summary>Rests as long as has been worked.</summary>
    /// <param name="begun">Since when.</param>
    /// <param name="cancellationToken">Ends resting.</param>
    public async Task RestAsync(long begun, CancellationToken cancellationToken)
    {
        var worked = time.GetElapsedTime(begun);
        if (worked > TimeSpan.Zero) await Task.Delay(worked < LongestRest ? worked : LongestRest, time, cancellationToken);
    }

    /// <inheritdoc/>
    public void Dispose() => _all.Dispose();

    /// <summary>One turn, from when it is taken until it is disposed.</summary>
    internal sealed class LookingTurn(LookingTurns turns, Caller caller) : IDisposable
    {
        private readonly List<SemaphoreSlim> _held = new(2);

        /// <summary>Waits for the turn, unless it has come already.</summary>
        /// <exception cref="ProblemException">It has not come in time.</exception>
        public async ValueTask TakeAsync(CancellationToken cancellationToken)
        {
            if (_held.Count > 0) return;
            var begun = turns.Now;
            foreach (var gate in (SemaphoreSlim[])[turns._ofCallers.Of(caller), turns._all])
            {
                var left = Patience - turns.Since(begun);
                if (!await gate.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, cancellationToken))
                {
                    throw new ProblemException(ProblemCode.Overloaded,
                        $"others look through the sessions, one at a time, and the turn of this call has not come within {Patience.TotalSeconds:F0} s");
                }
                _held.Add(gate);
            }
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            foreach (var gate in _held) gate.Release();
            _held.Clear();
        }
    }

    private long Now => time.GetTimestamp();

    private TimeSpan Since(long begun) => time.GetElapsedTime(begun);
}
