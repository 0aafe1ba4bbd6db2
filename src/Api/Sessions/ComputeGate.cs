using BnService.Api.Hosting.Telemetry;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>
/// Bounds how many large batches are computed at once (Compute:LargeBatches), in the order in which they come; small ones pass at once.
/// A large one holds a thread of the pool for as long as it computes: without a bound a few of them hold all, and a small one waits for
/// one of them to be done.
/// </summary>
internal sealed class ComputeGate(IOptions<ComputeOptions> options, WaitMeter waits) : IDisposable
{
    /// <summary>Batches of fewer elements pass: 1 MiB takes less time than waking who waits.</summary>
    public const int LargeElements = 1 << 18;

    private const int LongText = 8 << 20;

    private readonly SemaphoreSlim _free = new(options.Value.LargeBatches);

    /// <summary>Number of large batches that may begin at once.</summary>
    public int Free => _free.CurrentCount;

    /// <summary>Waits until a batch may be computed; what is returned is disposed when it has been.</summary>
    /// <param name="shape">The batch's shape.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    public async ValueTask<Turn> EnterAsync(Shape shape, CancellationToken cancellationToken)
    {
        if (shape.Count < LargeElements) return default;
        return await EnterAsync(cancellationToken);
    }

    /// <summary>Waits until a text may be read: a long one holds a thread as a large batch does.</summary>
    /// <param name="bytes">Its length.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    public async ValueTask<Turn> EnterTextAsync(long bytes, CancellationToken cancellationToken) =>
        bytes < LongText ? default : await EnterAsync(cancellationToken);

    private async ValueTask<Turn> EnterAsync(CancellationToken cancellationToken)
    {
        var turn = _free.WaitAsync(cancellationToken);
        if (turn.IsCompletedSuccessfully) waits.Compute.Passed();
        else await waits.Compute.WaitAsync(turn);
        return new Turn(_free);
    }

    /// <inheritdoc/>
    public void Dispose() => _free.Dispose();

    /// <summary>The right to compute a batch.</summary>
    /// <param name="free">Where it goes back to; null for a batch that needs none.</param>
    internal readonly struct Turn(SemaphoreSlim? free) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => free?.Release();
    }
}
