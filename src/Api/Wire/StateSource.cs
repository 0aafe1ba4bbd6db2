using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>A state as other libraries keep it, whole models included, in the contract's limits.</summary>
/// <param name="From">Prefix of the layer that is taken; null for the only one.</param>
internal sealed record StateSource(string? From)
{
    /// <summary>The query parameter that <see cref="From"/> comes in, and the one that the convention does.</summary>
    public const string FromName = "from", ConventionName = "convention";

    // Names of models are shorter; each array below a name repeats it.
    private const int LongestPath = 512;

    // Quotes, a colon and a comma.
    private const int BytesBesideName = 4;

    private const int LooksAtNames = 4;

    private const string KindName = "kind", OptionsName = "options", IgnoredName = "ignored", VersionName = "version";

    private static readonly JsonTypeInfo<PutStateRequest> Contract = (
        JsonTypeInfo<PutStateRequest>)ContractJson.Context.GetTypeInfo(typeof(PutStateRequest))!;
    private static readonly JsonTypeInfo<LayerOptionsRequest> OptionsContract =
        (JsonTypeInfo<LayerOptionsRequest>)ContractJson.Context.GetTypeInfo(typeof(LayerOptionsRequest))!;

    private static readonly HashSet<string> Fields = NamesOf(Contract), OptionNames = NamesOf(OptionsContract);

    /// <summary>
    /// The query parameters of the call, in every form of body: a layer's options by their names, the convention and the prefix.
    /// </summary>
    public static string[] QueryNames { get; } = [FromName, ConventionName, .. OptionNames];

    public static StateSource Of(HttpRequest request) => new(request.Query[FromName].ToString() is { Length: > 0 } from ? from : null);

    /// <summary>Adds the options of a query to a state.</summary>
    /// <exception cref="ProblemException">A value cannot be read, or the kind is another one than the body's.</exception>
    public static void ApplyQuery(IQueryCollection query, PutStateRequest state)
    {
        var (fields, options) = (new FieldDocument(Contract), new FieldDocument(OptionsContract));
        foreach (var (name, values) in query)
        {
            var target = name == ConventionName ? fields : OptionNames.Contains(name) ? options : null;
            foreach (var value in values) target?.Add(name, value ?? "");
        }
        if (!fields.IsEmpty) JsonMessageReader.ReadInto(state, fields.ToJson(), Contract);
        if (options.IsEmpty) return;
        var sent = state.Options ??= new LayerOptionsRequest();
        var (hasKind, kind) = (sent.SendsKind, sent.Kind);
        JsonMessageReader.ReadInto(sent, options.ToJson(), OptionsContract);
        if (hasKind) StateMapping.RequireSameKind(sent.Kind, kind);
    }

    /// <summary>The fields that a file's arrays are; those without one are passed over, and named in the answer.</summary>
    public IReadOnlyDictionary<string, string> Select(IReadOnlyCollection<string> names, IEnumerable<string> texts, FieldDocument fields)
    {
        // seen.mean, optimizer.gamma.first and the like are the contract's own; in a whole model's file each is its layer's.
        var own = From is not null ? [] : names.Where(name => IsOwn(name.Split('.')[0])).ToList();
        var selection = StateSelection.Of(names.Except(own), From, texts);
        if (selection.Ignored.Count > 0)
            fields.Add(IgnoredName, JsonSerializer.Serialize(selection.Ignored, ContractJson.Context.IReadOnlyListString));
        return own.Count == 0 ? selection.Fields
            : selection.Fields.Concat(own.Select(name => KeyValuePair.Create(name, name))).ToDictionary();
    }

    /// <summary>
    /// Adds the texts of a file's metadata where they are ours: where they have options as GET writes them, a convention, the word of a
    /// kind, or an array. Whatever else a library has written there is left alone.
    /// </summary>
    public static void AddTexts(IReadOnlyDictionary<string, string> texts, FieldDocument fields)
    {
        var hasOptions = texts.TryGetValue(OptionsName, out var options) && options.StartsWith('{');
        var isOurs = hasOptions || texts.ContainsKey(ConventionName)
            || texts.Keys.Any(name => name.StartsWith("options.", StringComparison.Ordinal))
            || texts.Any(text => StateNames.IsKnown(text.Key) && text.Value.StartsWith('['))
            || (texts.TryGetValue(KindName, out var kind) && StateNames.Kinds.Contains(kind, StringComparer.OrdinalIgnoreCase));
        if (!isOurs) return;
        foreach (var (name, text) in texts)
        {
            // bias and scale are options, and arrays.
            var isArray = StateNames.IsKnown(name) && text.StartsWith('[');
            if (OptionNames.Contains(name) && !isArray) fields.Add($"{OptionsName}.{name}", text);
            else if (name.Split('.')[0] is var first && first is not (VersionName or IgnoredName) && Fields.Contains(first))
                fields.Add(name, text);
        }
    }

    /// <summary>A JSON body with the contract's names alone; null where it has no others, or is none.</summary>
    /// <exception cref="ProblemException">There are several layers, or none of the prefix.</exception>
    /// <returns>The text; the caller's to dispose.</returns>
    public BodyBuffer? Rewritten(ReadOnlySpan<byte> body)
    {
        var (kept, arrays) = (new List<Slice>(), new List<Slice>());
        try
        {
            var reader = new Utf8JsonReader(body);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) return null;
            Walk(ref reader, "", kept, arrays);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // Its reader says what is wrong with it.
            return null;
        }
        if (From is null && arrays.TrueForAll(array => Fields.Contains(array.Name))) return null;
        if (arrays.DistinctBy(array => array.Name).Count() < arrays.Count) return null;
        // Names are looked at in several ways.
        MemoryAccount.Hold(arrays.Sum(array => (long)array.Name.Length) * LooksAtNames * sizeof(char));
        var selection = StateSelection.Of(arrays.ConvertAll(array => array.Name), From);
        var fields = kept.Concat(
            arrays.Where(array => selection.Fields.ContainsKey(array.Name))
            .Select(array => array with { Name = selection.Fields[array.Name] })).ToList();
        var json = new BodyBuffer(fields.Sum(field => (long)field.Length + field.Name.Length + BytesBesideName));
        try
        {
            json.Take("{"u8);
            foreach (var field in fields)
            {
                Begin(json, field.Name);
                json.Take(body.Slice(field.Start, field.Length));
            }
            if (selection.Ignored.Count > 0)
            {
                Begin(json, IgnoredName);
                json.Take(JsonSerializer.SerializeToUtf8Bytes(selection.Ignored, ContractJson.Context.IReadOnlyListString));
            }
            json.Take("}"u8);
            return json;
        }
        catch
        {
            json.Dispose();
            throw;
        }
    }

    // What stands at the top and is the contract's own stays; objects below other names are looked through.
    private static void Walk(ref Utf8JsonReader reader, string path, List<Slice> kept, List<Slice> arrays)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueSpan.Length > MessageLimits.LongestName)
                throw new ProblemException(ProblemCode.InvalidOption,
                    $"a field's name has at most {MessageLimits.LongestName} bytes, got '{JsonToken.Cut(reader.ValueSpan)}'");
            var name = path + reader.GetString();
            reader.Read();
            var isOwn = path.Length == 0 && IsOwn(name);
            if (!isOwn && reader.TokenType == JsonTokenType.StartObject && name.Length <= LongestPath)
            {
                Walk(ref reader, $"{name}.", kept, arrays);
                continue;
            }
            var start = (int)reader.TokenStartIndex;
            reader.Skip();
            (isOwn ? kept : arrays).Add(new(name, start, (int)reader.BytesConsumed - start));
            StateSelection.RequireFew(arrays.Count + kept.Count);
        }
    }

    private static bool IsOwn(string name) => Fields.Contains(name) && !StateNames.IsKnown(name);

    private static void Begin(BodyBuffer json, string name)
    {
        if (json.Length > 1) json.Take(","u8);
        json.Take("\""u8);
        json.Take(JsonEncodedText.Encode(name).EncodedUtf8Bytes);
        json.Take("\":"u8);
    }

    private static HashSet<string> NamesOf(JsonTypeInfo contract) =>
        [.. ContractField.Of(contract).Where(field => field.Property.Set is not null).Select(field => field.Name)];

    private readonly record struct Slice(string Name, int Start, int Length);
}
