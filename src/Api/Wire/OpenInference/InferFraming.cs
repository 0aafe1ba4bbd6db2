using System.Globalization;
using Microsoft.Extensions.Primitives;

namespace BnService.Api.Wire.OpenInference;

/// <summary>Where the JSON of an infer request ends and the tensors' bytes begin.</summary>
/// <param name="JsonBytes">Bytes of the JSON; 0 for a body that is the single input's bytes and nothing else.</param>
/// <param name="TensorBytes">Bytes behind it.</param>
internal readonly record struct InferFraming(int JsonBytes, int TensorBytes)
{
    /// <summary>Reads it from the request's header; where there is none the whole body is JSON.</summary>
    /// <param name="header">The header <see cref="InferText.LengthHeader"/>.</param>
    /// <param name="bodyBytes">Bytes of the decoded body.</param>
    public static InferFraming Read(StringValues header, int bodyBytes)
    {
        if (header.Count == 0) return new(bodyBytes, 0);
        if (!int.TryParse(header.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var json) || json > bodyBytes)
            throw InferText.Refused($"{InferText.LengthHeader} must be the JSON's bytes, a whole number from 0 to the body's {bodyBytes}, got '{Cut(header.ToString())}'");
        return new(json, bodyBytes - json);
    }

    private static string Cut(string text) => text.Length <= 40 ? text : text[..40] + "…";
}
