using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Limits;

/// <summary>
/// Bounds how many answers write long arrays of numbers as text at once (Compute:LargeBatches), a chunk each in the order in which they
/// come: it takes a core for as long as it lasts, and small requests find another. Who waits for a client to read holds nothing.
/// </summary>
internal sealed class LongTexts(IOptions<ComputeOptions> options) : IDisposable
{
    /// <summary>Arrays of fewer numbers pass: their text takes less than a tenth of a second.</summary>
    public const int LongNumbers = 1 << 18;

    private readonly SemaphoreSlim _free = new(options.Value.LargeBatches);

    /// <summary>Waits until the next chunk of an array may be written; what is returned is disposed when it has been.</summary>
    /// <param name="context">The request.</param>
    /// <param name="numbers">Length of the array.</param>
    public static ValueTask<Turn> EnterAsync(HttpContext context, int numbers) =>
        numbers < LongNumbers ? default : context.RequestServices.GetRequiredService<LongTexts>().EnterAsync(context.RequestAborted);

    /// <inheritdoc/>
    public void Dispose() => _free.Dispose();

    private async ValueTask<Turn> EnterAsync(CancellationToken cancellationToken)
    {
        await _free.WaitAsync(cancellationToken);
        return new Turn(_free);
    }

    /// <summary>The right to write a chunk.</summary>
    /// <param name="free">Where it goes back to; null for a short array.</param>
    internal readonly struct Turn(SemaphoreSlim? free) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => free?.Release();
    }
}
