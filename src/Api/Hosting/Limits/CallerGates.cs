using System.Runtime.CompilerServices;

namespace BnService.Api.Hosting.Limits;

/// <summary>A gate for each caller: one that holds its own keeps nobody else waiting, and nothing is left of a key that is no more.</summary>
/// <param name="most">How many may pass the gate of one caller at one time.</param>
internal sealed class CallerGates(int most)
{
    private readonly ConditionalWeakTable<Caller, SemaphoreSlim> _gates = [];

    /// <summary>The gate of a caller.</summary>
    public SemaphoreSlim Of(Caller caller) => _gates.GetValue(caller, _ => new SemaphoreSlim(most));
}
