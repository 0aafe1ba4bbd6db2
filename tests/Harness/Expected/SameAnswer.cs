using System.Text.Json;

namespace BnService.Harness;

/// <summary>An answer in a binary form says what the same answer in JSON says, down to the last bit.</summary>
public static class SameAnswer
{
    /// <summary>Compares in whichever form the answer has.</summary>
    /// <param name="json">The answer in JSON.</param>
    /// <param name="answer">The answer in any form.</param>
    /// <param name="different">Fields that differ from call to call.</param>
    public static void In(Answer json, Answer answer, params string[] different)
    {
        Assert.Equal((json.Status, json.ETag), (answer.Status, answer.ETag));
        if (answer.ContentType == Forms.Safetensors) Fields(json, answer.Tensors, different);
        else if (answer.ContentType == Forms.Npy) Array(json, answer, different);
        else Assert.Equal(Members(json, different).Select(member => member.ToString()), Members(answer, different).Select(member => member.ToString()));
    }

    /// <summary>An answer that says, byte by byte, what the first one to the same key has said, and that it is not the first.</summary>
    public static void Again(Answer first, Answer again)
    {
        const string Replayed = "Idempotent-Replayed";
        Assert.False(first.Headers.ContainsKey(Replayed), "the first answer says that it is none");
        Assert.Equal("true", again.Headers.GetValueOrDefault(Replayed));
        Assert.Equal(first.Expect(first.Status is 204 ? 204 : 200).Status, again.Status);
        if (first.ContentType?.EndsWith("json", StringComparison.Ordinal) == true) Assert.Equal(first.Text, again.Text);
        Assert.Equal(first.Body, again.Body);
        Assert.Equal(Lines(first), Lines(again));

        static IEnumerable<string> Lines(Answer answer) => answer.Headers
            .Where(header => header.Key is not (Replayed or "Date")).Select(header => $"{header.Key}: {header.Value}").Order();
    }

    // Tensors and arrays of numbers are tensors; everything else is text.
    private static void Fields(Answer json, TensorFile file, string[] different)
    {
        var (tensors, texts) = (file.Names.Except(different).ToHashSet(), file.Texts.Keys.Except(different).ToHashSet());
        foreach (var member in Members(json, different).Where(member => member.Value.ValueKind != JsonValueKind.Null))
        {
            var (name, value) = (member.Name, member.Value);
            if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("shape", out _))
            {
                Assert.True(tensors.Remove(name), $"{name} is missing");
                Same(json.Tensor(name), file[name].Batch);
            }
            else if (value.ValueKind == JsonValueKind.Array && IsNumbers(value))
            {
                Assert.True(tensors.Remove(name), $"{name} is missing");
                Assert.Equal(Elements.Bits(json.Numbers(name)), Elements.Bits(file[name].Values));
                Assert.Equal(("F64", json.Numbers(name).Length), (file[name].Type, Assert.Single(file[name].Shape)));
            }
            else
            {
                Assert.True(texts.Remove(name), $"{name} is missing");
                var text = file.Texts[name];
                if (value.ValueKind == JsonValueKind.String) Assert.Equal(value.GetString(), text);
                else Assert.Equal(value.GetRawText(), text);
            }
        }
        Assert.Empty(tensors);
        Assert.Empty(texts);
    }

    // One tensor is the body; numbers and words are headers.
    private static void Array(Answer json, Answer answer, string[] different)
    {
        var members = Members(json, different).ToList();
        var tensor = members.First(member => member.Value.ValueKind == JsonValueKind.Object && member.Value.TryGetProperty("shape", out _));
        Same(json.Tensor(tensor.Name), answer.Array);
        foreach (var (field, header) in new[] { ("version", "Bn-State-Version"), ("count", "Bn-Count"), ("num_batches_tracked", "Bn-Num-Batches-Tracked") })
        {
            if (different.Contains(field)) continue;
            if (json.Has(field)) Assert.Equal(json[field].GetRawText(), answer.Headers[header]);
            else Assert.DoesNotContain(header, answer.Headers.Keys);
        }
        if (json.Has("step_id")) Assert.Equal(json["step_id"].ValueKind == JsonValueKind.String, answer.Headers.ContainsKey("Bn-Step-Id"));
        if (json.Has("warnings"))
        {
            Assert.Equal(string.Join(", ", json["warnings"].EnumerateArray().Select(warning => warning.GetProperty("code").GetString())),
                answer.Headers.GetValueOrDefault("Bn-Warnings", ""));
        }
    }

    /// <summary>Two tensors of the same shape and the same bits.</summary>
    public static void Same(Batch expected, Batch actual)
    {
        Assert.Equal(expected.Shape, actual.Shape);
        Assert.Equal(Elements.Bits(expected.Data), Elements.Bits(actual.Data));
    }

    private static IEnumerable<JsonProperty> Members(Answer json, string[] different) =>
        json.Json.EnumerateObject().Where(member => !different.Contains(member.Name));

    private static bool IsNumbers(JsonElement array) =>
        array.EnumerateArray().All(item => item.ValueKind == JsonValueKind.Number || item.ValueKind == JsonValueKind.String)
        && array.GetArrayLength() > 0;
}
