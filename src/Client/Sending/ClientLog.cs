using Microsoft.Extensions.Logging;

namespace BnService.Client.Sending;

/// <summary>What the client logs: names of calls and sessions, codes and numbers; never keys or contents.</summary>
internal static partial class ClientLog
{
    [LoggerMessage(1, LogLevel.Debug, "{Call} of session {Session} was answered at attempt {Attempt}")]
    public static partial void CallAnswered(this ILogger logger, string call, string? session, int attempt);

    [LoggerMessage(2, LogLevel.Warning, "{Call} of session {Session} is sent again in {Delay}: {Code} at attempt {Attempt}")]
    public static partial void CallRepeated(this ILogger logger, string call, string? session, string code, int attempt, TimeSpan delay);

    [LoggerMessage(3, LogLevel.Error, "{Call} of session {Session} is given up after attempt {Attempt}: {Code}")]
    public static partial void CallGivenUp(this ILogger logger, string call, string? session, int attempt, string code);

    [LoggerMessage(6, LogLevel.Information, "{Call} of session {Session} is refused: {Code}, trace {Trace}")]
    public static partial void CallRefused(this ILogger logger, string call, string? session, string code, string? trace);

    [LoggerMessage(4, LogLevel.Information, "Step {Step} of session {Session} has expired; its x is sent again")]
    public static partial void StepExpired(this ILogger logger, string session, string? step);

    [LoggerMessage(5, LogLevel.Warning, "The update of session {Session} had been made when its answer was lost; its gradients are taken anew")]
    public static partial void UpdateWasMade(this ILogger logger, string session);
}
