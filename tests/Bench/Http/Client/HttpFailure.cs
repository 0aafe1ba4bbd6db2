namespace BnService.Bench.Http.Client;

/// <summary>An exchange that did not come to a good end.</summary>
/// <param name="message">What happened instead.</param>
internal sealed class HttpFailure(string message) : Exception(message);
