using System.Globalization;
using System.Text.Json.Nodes;

namespace BnService.Api.Tests.Generated;

/// <summary>Makes up requests for an operation of the document: some as it describes them, the others mutated or with extreme values.</summary>
internal sealed class RequestGenerator(ApiDocument document, Surroundings surroundings)
{
    private static readonly string[] Forms = [Harness.Forms.Json, Harness.Forms.Safetensors, Harness.Forms.Npy, "application/problem+json", "*/*", "text/html", "application/json;q=0", "json", "a/b;;=", ""];

    /// <summary>A request; with the same randomness in the same surroundings the same one.</summary>
    public GeneratedRequest Next(ApiOperation operation, Random random)
    {
        var session = surroundings.Sessions[random.Next(surroundings.Sessions.Length)];
        var (path, query, headers, isKnown) = (operation.Template, new List<string>(), new List<(string, string)>(), true);
        foreach (var parameter in operation.Element.TryGetProperty("parameters", out var parameters) ? parameters.EnumerateArray() : default)
        {
            var (name, place) = (parameter.GetProperty("name").GetString()!, parameter.GetProperty("in").GetString()!);
            var isRequired = place == "path" || name is "rank" or "world_size";
            if (!isRequired && random.Next(4) > 0) continue;
            var isGood = random.Next(isRequired ? 12 : 4) > 0;
            var value = isGood ? Good(name, session, random) : Extremes.Texts[random.Next(Extremes.Texts.Length)];
            if (place == "path") (path, isKnown) = (path.Replace($"{{{name}}}", Escaped(value, random), StringComparison.Ordinal), isKnown && (name != "session" || value == session.Name));
            else if (place == "query") query.Add($"{name}={Escaped(value, random)}");
            else headers.Add((name, value));
        }
        if (random.Next(40) == 0) query.Add(query.Count > 0 ? query[0] : "nosuch=1");
        if (query.Count > 0) path += "?" + string.Join('&', query);
        if (random.Next(12) == 0) headers.Add(("Accept", Forms[random.Next(Forms.Length)]));
        if (Caller(random) is { } caller) headers.Add(caller);
        var (form, body) = Body(operation, session, random);
        return new GeneratedRequest(operation, path, isKnown && operation.Template.Contains("{session}", StringComparison.Ordinal) ? session : null, [.. headers], form, body);
    }

    // What users of the call would send.
    private string Good(string name, KnownSession session, Random random) => name switch
    {
        "session" => session.Name,
        "group" => "g0",
        "version" => Text(session.Snapshot),
        "id" => surroundings.Expendable(random.Next(10)),
        "rank" => "0",
        "world_size" => random.Next(15) == 0 ? "2" : "1",
        "If-Match" => random.Next(3) == 0 ? "\"1\"" : $"\"{Text(session.Version)}\"",
        "Idempotency-Key" => $"key-{Text(random.Next(6))}",
        "Bn-Min-Version" => Text(session.Version),
        "limit" => Text(random.Next(1, 20)),
        "prefix" => "ba",
        "kind" => "batch_norm",
        "include" => "running_mean,diagnostics",
        _ => "a",
    };

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    // Mostly as a client does; a segment that is empty would be another call.
    private static string Escaped(string value, Random random) => random.Next(10) > 0 || value.Length == 0 || value.Contains('/', StringComparison.Ordinal)
        ? Uri.EscapeDataString(value)
        : value.Replace("#", "%23", StringComparison.Ordinal).Replace("?", "%3f", StringComparison.Ordinal).Replace("\\", "%5c", StringComparison.Ordinal);

    private (string, string)? Caller(Random random) => random.Next(100) switch
    {
        < 84 => surroundings.Admin,
        < 88 => KeyedService.Bearer(surroundings.Keys[1]),
        < 92 => KeyedService.Bearer(surroundings.Keys[2]),
        < 94 => KeyedService.Bearer(surroundings.Keys[3]),
        < 96 => ("X-Api-Key", surroundings.Keys[0]),
        96 => ("Authorization", Extremes.Texts[random.Next(Extremes.Texts.Length)]),
        97 => KeyedService.Bearer(surroundings.Keys[0][..^1] + "!"),
        _ => null,
    };

    private (string? Form, byte[]? Body) Body(ApiOperation operation, KnownSession session, Random random)
    {
        if (!operation.Element.TryGetProperty("requestBody", out var description)) return random.Next(20) > 0 ? (null, null) : (Harness.Forms.Json, Mutation.Text(new JsonObject()));
        var content = description.GetProperty("content").GetProperty(Harness.Forms.Json);
        if (!description.TryGetProperty("required", out _) && random.Next(4) == 0) return (null, null);
        var value = random.Next(8) == 0
            ? JsonNode.Parse(content.GetProperty("example").GetRawText())
            : new SchemaValues(document, random, session).Of(content.GetProperty("schema"), operation.Id);
        var mutation = new Mutation(random);
        var body = random.Next(100) switch
        {
            < 45 => Mutation.Text(value),
            < 70 => mutation.Changed(value),
            < 90 => mutation.WithExtremes(value),
            _ => mutation.Broken(value),
        };
        return (random.Next(25) > 0 ? Harness.Forms.Json : OtherForm(random), body);
    }

    private static string? OtherForm(Random random) => random.Next(7) switch
    {
        0 => null,
        1 => "application/json; charset=utf-8",
        2 => "application/json; charset=utf-16",
        3 => "application/json; charset=nosuch",
        _ => Forms[random.Next(Forms.Length - 1)],
    };
}
