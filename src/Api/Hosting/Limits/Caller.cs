using System.Diagnostics.CodeAnalysis;

namespace BnService.Api.Hosting.Limits;

/// <summary>Who sends requests, as far as places are counted: the holder of a key until it is rotated or revoked, or all who need none.</summary>
/// <param name="isOne">Whether it is one holder of a key, who must leave places to the others.</param>
[SuppressMessage("Design", "CA1001", Justification = "A source without a timer holds nothing that has to be given back.")]
internal sealed class Caller(bool isOne)
{
    private static readonly int Kinds = Enum.GetValues<Place>().Length;

    private readonly CancellationTokenSource _end = new();
    private readonly int[] _held = new int[Kinds];

    /// <summary>Whoever sends a request that needs no key, although the service asks for keys.</summary>
    public static Caller Stranger { get; } = new(isOne: false);

    /// <summary>Whether it is one holder of a key, who must leave places to the others.</summary>
    public bool IsOne => isOne;

    /// <summary>Is cancelled when what it has sent is answered no more: its key has been rotated or revoked.</summary>
    public CancellationToken Ended => _end.Token;

    /// <summary>Number of places of a kind that it holds.</summary>
    public ref int Held(Place place) => ref _held[(int)place];

    /// <summary>Ends what it has sent: streams, waiting, and bodies that still come.</summary>
    // Not here: thousands of calls may end with it, and whoever has revoked the key waits for its answer.
    public void End() => _ = _end.CancelAsync();
}
