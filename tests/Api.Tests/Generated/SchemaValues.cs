using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace BnService.Api.Tests.Generated;

/// <summary>
/// Makes up JSON that fits a schema of the document. What a schema does not say (that tensors of one request have the same shape, that a
/// kind has options of its own) is arranged by names, so that a good part of it is accepted.
/// </summary>
internal sealed class SchemaValues(ApiDocument document, Random random, KnownSession session)
{
    private const int Features = Surroundings.Features;
    private const double ShareOfOptional = 0.2;

    private int[] _shape = ShapeOf(random);

    /// <summary>A value that fits.</summary>
    public JsonNode? Of(JsonElement schema, string name)
    {
        if (schema.TryGetProperty("$ref", out var reference))
        {
            var type = reference.GetString()!.Split('/')[^1];
            if (type == "Tensor") return Tensor(_shape);
            var value = Of(document.Resolve(reference.GetString()!), name);
            return value is JsonObject members ? Arranged(type, members) : value;
        }
        if (schema.TryGetProperty("oneOf", out var alternatives)) return Of(Alternative(alternatives), name);
        if (schema.TryGetProperty("enum", out var words)) return Word([.. words.EnumerateArray().Select(word => word.GetString()!)]);
        return TypeOf(schema) switch
        {
            "object" => Object(schema),
            "array" => Items(schema, name),
            "integer" => JsonValue.Create(Integer(name)),
            "number" => JsonValue.Create(Number(name)),
            "boolean" => JsonValue.Create(random.Next(2) == 0),
            "string" => JsonValue.Create(Text(name)),
            _ => null,
        };
    }

    // In any case, as it is read.
    private JsonNode Word(string[] words)
    {
        var word = words[random.Next(words.Length)];
        return random.Next(20) == 0 ? word.ToUpperInvariant() : word;
    }

    private JsonElement Alternative(JsonElement alternatives)
    {
        var all = alternatives.EnumerateArray().ToList();
        // Nothing is rarer than the rest.
        var common = all.Where(one => TypeOf(one) != "null").ToList();
        return common.Count > 0 && random.Next(20) > 0 ? common[random.Next(common.Count)] : all[random.Next(all.Count)];
    }

    private string TypeOf(JsonElement schema)
    {
        if (!schema.TryGetProperty("type", out var type)) return "";
        if (type.ValueKind == JsonValueKind.String) return type.GetString()!;
        var names = type.EnumerateArray().Select(name => name.GetString()!).ToList();
        return random.Next(20) == 0 ? "null" : names.First(name => name != "null");
    }

    private JsonObject Object(JsonElement schema)
    {
        var value = new JsonObject();
        var required = schema.TryGetProperty("required", out var names) ? names.EnumerateArray().Select(name => name.GetString()!).ToHashSet() : [];
        if (schema.TryGetProperty("properties", out var properties))
        {
            foreach (var property in properties.EnumerateObject())
            {
                if (required.Contains(property.Name) || random.NextDouble() < ShareOfOptional) value[property.Name] = Of(property.Value, property.Name);
            }
        }
        if (schema.TryGetProperty("additionalProperties", out var others) && others.ValueKind == JsonValueKind.Object)
            for (var i = random.Next(3); i > 0; i--) value[$"label{i}"] = Of(others, "label");
        return value;
    }

    private JsonArray Items(JsonElement schema, string name)
    {
        var length = name switch { "mask" => _shape[0], "normalized_shape" => 1, "moments" or "sessions" or "blobs" or "scale_blobs" => 1 + random.Next(2), _ => Features };
        var items = schema.GetProperty("items");
        return [.. Enumerable.Range(0, length).Select(_ => TypeOf(items) == "number" && random.Next(400) == 0 ? NonFinite() : Of(items, name))];
    }

    private long Integer(string name) => name switch
    {
        "num_features" or "normalized_shape" => Features,
        "num_groups" or "groups" => random.Next(2) == 0 ? 1 : Features,
        "channel_axis" => random.Next(2) == 0 ? 1 : -1,
        "ghost_batch_size" => 2,
        "mask" => random.Next(5) == 0 ? 0 : 1,
        "version" => session.Snapshot,
        _ => random.Next(1, 20),
    };

    private double Number(string name) => name switch
    {
        "eps" => 1e-5,
        "momentum" or "learning_rate" or "weight_decay" => 0.01 * random.Next(1, 100),
        "beta1" or "beta2" => 0.9,
        "r_max" or "d_max" => 1 + random.Next(5),
        _ => Math.Round(random.NextDouble() * 4, random.Next(12)),
    };

    // What is no number travels as a word in arrays of numbers.
    private JsonNode NonFinite() => random.Next(3) switch { 0 => "NaN", 1 => "Infinity", _ => "-Infinity" };

    private string Text(string name) => name switch
    {
        "name" => string.Create(CultureInfo.InvariantCulture, $"made-{random.Next(30)}"),
        "step_id" => session.Step?.Id ?? "node-1",
        "sessions" => random.Next(2) == 0 ? session.Name : "batch",
        "prefix" => "made-",
        _ => random.Next(2) == 0 ? "a text" : "é😀",
    };

    private JsonNode Tensor(int[] shape)
    {
        var batch = Batch.Random(random.Next(), shape);
        return JsonNode.Parse(random.Next(2) == 0 && batch.Data.Length > 0 ? batch.NestedJson : batch.Json)!;
    }

    private static int[] ShapeOf(Random random) => random.Next(10) switch
    {
        < 5 => [2 + random.Next(5), Features],
        5 => [random.Next(3), Features],
        6 or 7 => [2 + random.Next(3), Features, Features],
        8 => [2, Features, 2, Features],
        _ => [1, Features, 1, 2, Features],
    };

    private JsonObject Arranged(string type, JsonObject value)
    {
        switch (type)
        {
            case "CreateSessionRequest" or "NormalizeRequest" or "LayerOptionsRequest": ArrangeKind(value); break;
            case "BackwardRequest": ArrangeBackward(value); break;
            case "UpdateRequest": Keep(value, value["optimizer"]?.GetValue<string>() == "sgd" ? ["optimizer", "learning_rate", "momentum", "weight_decay"] : ["optimizer", "learning_rate", "beta1", "beta2", "eps", "weight_decay"]); break;
            case "MergeRequest": ArrangeMerge(value); break;
            case "FoldRequest": ArrangeFold(value); break;
            case "CreateKeyRequest" when value["role"]?.GetValue<string>() == "admin": value.Remove("prefix"); break;
            case "PutStateRequest" when random.Next(4) > 0: return ArrangedState(value);
        }
        return value;
    }

    // What a kind needs, and no other kind's options.
    private void ArrangeKind(JsonObject value)
    {
        string[] kinds = ["batch_norm", "batch_renorm", "layer_norm", "rms_norm", "group_norm", "instance_norm"];
        var kind = kinds[random.Next(kinds.Length)];
        string[] others = ["num_features", "normalized_shape", "num_groups", "renorm", "ghost_batch_size", "granularity", "track_running_stats", "momentum", "unbiased_running_var", "require_statistics",
            "running_mean", "running_var", "num_batches_tracked", "mode", "mask", "convention", "gamma_init", "beta_init", "bias", "affine", "gamma", "beta", "channel_axis"];
        // With all of them kept, little is accepted.
        if (random.Next(4) > 0) foreach (var name in others) value.Remove(name);
        value["kind"] = kind;
        if (kind is "layer_norm" or "rms_norm") value["normalized_shape"] = new JsonArray(Features);
        else value["num_features"] = Features;
        if (kind == "group_norm") value["num_groups"] = random.Next(2) == 0 ? 1 : Features;
    }

    // Through a step that was retained, or through x.
    private void ArrangeBackward(JsonObject value)
    {
        if (session.Step is { } step && random.Next(2) == 0)
        {
            foreach (var name in (string[])["x", "mask", "residual", "mode"]) value.Remove(name);
            (value["step_id"], value["dy"]) = (step.Id, Tensor(step.Shape));
            return;
        }
        value.Remove("step_id");
        value["x"] = Tensor(_shape);
    }

    private void ArrangeMerge(JsonObject value)
    {
        if (random.Next(2) == 0) Keep(value, ["count", "mean", "m2"]);
        else Keep(value, ["moments", "sessions"]);
        if (value.Count == 0) value["sessions"] = new JsonArray("batch", session.Name);
    }

    private void ArrangeFold(JsonObject value)
    {
        var outputs = 1 + random.Next(3);
        (value["layer"], _shape) = random.Next(3) switch
        {
            0 => ((JsonNode)"conv", (int[])[Features, outputs, 1, 1]),
            1 => ("conv_transpose", [outputs, Features, 1, 1]),
            _ => ("linear", [Features, outputs]),
        };
        value["weight"] = Tensor(_shape);
        if (random.Next(2) == 0) Keep(value, ["layer", "weight", "bias"]);
    }

    // The state that the session had, with some of what was made up.
    private JsonObject ArrangedState(JsonObject value)
    {
        var state = JsonNode.Parse(session.State)!.AsObject();
        if (random.Next(2) == 0) return state;
        foreach (var (name, member) in value) if (state.ContainsKey(name) && name != "options") state[name] = member?.DeepClone();
        return state;
    }

    private static void Keep(JsonObject value, string[] names)
    {
        foreach (var name in value.Select(member => member.Key).Except(names).ToList()) value.Remove(name);
    }
}
