using BnService.Api.Sessions;
using BnService.Api.Wire;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Limits;

/// <summary>
/// Bounds how many large bodies of values that are no tensors, as whole states in binary forms, each key has read at once
/// (Compute:LargeBatches): they are copied on the way, which makes much garbage; those of other keys do not wait for it.
/// </summary>
internal sealed class LargeBodies(IOptions<ComputeOptions> options)
{
    /// <summary>Bodies of fewer bytes pass.</summary>
    public const long LargeBytes = 1 << 20;

    private readonly CallerGates _gates = new(options.Value.LargeBatches);

    /// <summary>
    /// Waits until a body whose values are on their way may be read; what is returned is disposed when it has been. Who sends them slowly
    /// keeps its own key waiting; who has none does not wait.
    /// </summary>
    public static ValueTask<Turn> EnterAsync(HttpContext context, IReadOnlyList<IncomingPart> parts)
    {
        var bytes = 0L;
        for (var i = 0; i < parts.Count; i++) bytes += parts[i] is IncomingValues ? parts[i].Bytes : 0;
        return bytes < LargeBytes || RequestContext.Of(context).Caller is not { IsOne: true } caller
            ? default
            : context.RequestServices.GetRequiredService<LargeBodies>().EnterAsync(caller, context.RequestAborted);
    }

    /// <summary>Waits for a caller's turn.</summary>
    public async ValueTask<Turn> EnterAsync(Caller caller, CancellationToken cancellationToken)
    {
        var free = _gates.Of(caller);
        await free.WaitAsync(cancellationToken);
        return new Turn(free);
    }

    /// <summary>The right to read a body.</summary>
    /// <param name="free">Where it goes back to; null for a body that needs none.</param>
    internal readonly struct Turn(SemaphoreSlim? free) : IDisposable
    {
        public void Dispose() => free?.Release();
    }
}

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
    /// <param name="numbers">Length of the array.</param>
    public static ValueTask<Turn> EnterAsync(HttpContext context, int numbers) =>
        numbers < LongNumbers ? default : context.RequestServices.GetRequiredService<LongTexts>().EnterAsync(context.RequestAborted);

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
        public void Dispose() => free?.Release();
    }
}
