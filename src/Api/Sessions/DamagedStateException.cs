using BnService.Api.Errors;
using BnService.Api.Storage;

namespace BnService.Api.Sessions;

/// <summary>What of a stored session cannot be read.</summary>
public enum Damage
{
    /// <summary>Nothing: all of it can.</summary>
    None,

    /// <summary>Its arrays: the options and labels are known.</summary>
    Arrays,

    /// <summary>Its header, and with it everything but who the session is.</summary>
    Header,
}

/// <summary>Something stored is not as it was written: it alone is in trouble.</summary>
/// <param name="detail">Names it, and says what to do.</param>
internal sealed class DamagedStateException(string detail) : ProblemException(ProblemCode.StateDamaged, detail)
{
    /// <summary>What is left of a session, to be deleted or to be given another state; null where it is no session.</summary>
    public SessionRemains? Remains { get; init; }
}

/// <summary>What is left of a session whose stored state is damaged.</summary>
/// <param name="Session">Who it is, with <see cref="SessionSummary.Damage"/>; of its options nothing but the kind where the header is damaged.</param>
/// <param name="Stored">What the store has.</param>
internal sealed record SessionRemains(SessionSummary Session, StoredSession Stored);
