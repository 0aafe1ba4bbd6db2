using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace BnService.Harness;

/// <summary>A request in every form that it can have.</summary>
public sealed class Message
{
    private readonly List<(string Path, Batch Batch)> _tensors = [];
    private readonly List<(string Path, string Text)> _options = [];

    /// <summary>A message that is a batch.</summary>
    public static Message Of(Batch x) => new Message().With("x", x);

    /// <summary>Adds a tensor.</summary>
    public Message With(string path, Batch batch)
    {
        _tensors.Add((path, batch));
        return this;
    }

    /// <summary>Adds an option, as a text.</summary>
    public Message With(string path, string text)
    {
        _options.Add((path, text));
        return this;
    }

    /// <summary>Its content in one of the forms; options of an array are in the query.</summary>
    public byte[] Body(string form, string type = "F32") => form switch
    {
        Forms.Safetensors => File(type).ToBytes(),
        Forms.Npy => ArrayFile.Of(Assert.Single(_tensors).Batch, type),
        _ => Encoding.UTF8.GetBytes(Json(type)),
    };

    /// <summary>What stands behind the path of a request in one of the forms.</summary>
    public string Query(string form) => form == Forms.Npy && _options.Count > 0
        ? "?" + string.Join('&', _options.Select(option => $"{option.Path}={Uri.EscapeDataString(option.Text)}"))
        : "";

    /// <summary>The safetensors file.</summary>
    public TensorFile File(string type = "F32")
    {
        var file = new TensorFile();
        foreach (var (path, text) in _options) file.Text(path, text);
        foreach (var (path, batch) in _tensors) file.Add(path, batch, type);
        return file;
    }

    /// <summary>The JSON with the values that elements of a type have.</summary>
    public string Json(string type = "F32")
    {
        var json = new JsonObject();
        foreach (var (path, batch) in _tensors) Put(json, path, JsonNode.Parse(Elements.In(type, batch).Json)!);
        foreach (var (path, text) in _options) Put(json, path, NodeOf(text));
        return json.ToJsonString();
    }

    private static void Put(JsonObject json, string path, JsonNode value)
    {
        var dot = path.IndexOf('.', StringComparison.Ordinal);
        if (dot < 0)
        {
            json[path] = value;
            return;
        }
        if (json[path[..dot]] is not JsonObject inner) json[path[..dot]] = inner = [];
        Put(inner, path[(dot + 1)..], value);
    }

    // A word that is no JSON is a string.
    private static JsonNode NodeOf(string text)
    {
        try
        {
            return JsonNode.Parse(text)!;
        }
        catch (JsonException)
        {
            return JsonValue.Create(text);
        }
    }
}
