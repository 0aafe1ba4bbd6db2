using System.Text.Json;
using BnService.Api.Errors;

namespace BnService.Api.Wire.OpenInference;

/// <summary>Names and refusals of the protocol's infer call.</summary>
internal static class InferText
{
    /// <summary>Name of a session's input.</summary>
    public const string Input = "x";

    /// <summary>Name of a session's output.</summary>
    public const string Output = "y";

    /// <summary>Header with the bytes of the JSON in front of binary tensors, of requests and answers.</summary>
    public const string LengthHeader = "Inference-Header-Content-Length";

    /// <summary>Whether the JSON reader has stopped at what is not JSON; an escape of an unpaired surrogate it finds only when it compares the text.</summary>
    public static bool IsMalformedJson(Exception exception) =>
        exception is JsonException or InvalidOperationException { Source: "System.Text.Json.Rethrowable" };

    /// <summary>A request that cannot be read.</summary>
    public static ProblemException Refused(string text) => new(ProblemCode.MalformedBody, text);
}
