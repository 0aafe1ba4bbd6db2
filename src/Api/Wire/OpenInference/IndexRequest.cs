using System.Text.Json;
using BnService.Api.Wire.Json;

namespace BnService.Api.Wire.OpenInference;

/// <summary>The request of the repository's index (Triton's extension_model_repository.md): <c>{"ready": true}</c>, or nothing.</summary>
internal static class IndexRequest
{
    /// <summary>Whether only models that are ready are asked for. Refuses what is no such request; members that are not known are passed over.</summary>
    public static bool AsksForReady(ReadOnlySpan<byte> body)
    {
        body = JsonText.WithoutMark(body);
        if (body.IsEmpty) return false;
        var asked = false;
        var reader = new Utf8JsonReader(body, new JsonReaderOptions { MaxDepth = InferHeaderReader.MaxDepth });
        try
        {
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject) throw InferText.Refused($"the request must be a JSON object, got {JsonToken.Describe(ref reader)}");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isReady = reader.ValueTextEquals("ready"u8);
                reader.Skip();
                if (isReady && reader.TokenType is not (JsonTokenType.True or JsonTokenType.False or JsonTokenType.Null))
                    throw InferText.Refused($"ready must be true or false, got {JsonToken.Describe(ref reader)}");
                if (isReady) asked = reader.TokenType == JsonTokenType.True;
            }
            reader.Read();
            return asked;
        }
        catch (Exception exception) when (InferText.IsMalformedJson(exception))
        {
            throw InferText.Refused(JsonFlaw.Of(body, InferHeaderReader.MaxDepth).Explain("the body"));
        }
    }
}
