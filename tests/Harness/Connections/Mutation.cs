using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace BnService.Harness;

/// <summary>Makes of JSON that is right some that is not: fields that are missing, twice, renamed or of another type, texts that are no JSON.</summary>
internal sealed class Mutation(Random random)
{
    private const int Deep = 3000, Many = 20_000;

    private static readonly JsonSerializerOptions Compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    // What JsonNode cannot hold stands in the text for a word that nothing else is.
    private readonly List<string> _texts = [];

    /// <summary>The JSON as it is.</summary>
    public static byte[] Text(JsonNode? json) => Encoding.UTF8.GetBytes(json?.ToJsonString(Compact) ?? "null");

    /// <summary>The JSON with some changes in its structure.</summary>
    public byte[] Changed(JsonNode? json)
    {
        for (var changes = 1 + random.Next(3); changes > 0; changes--) Change(PlacesOf(json));
        return Written(json);
    }

    /// <summary>The JSON with extreme values in some places.</summary>
    public byte[] WithExtremes(JsonNode? json)
    {
        for (var changes = 1 + random.Next(2); changes > 0; changes--)
        {
            if (PlacesOf(json) is { Count: > 0 } places) Replace(places[random.Next(places.Count)], Raw(Extremes.Values[random.Next(Extremes.Values.Length)]));
        }
        return Written(json);
    }

    /// <summary>A text that was JSON.</summary>
    public byte[] Broken(JsonNode? json)
    {
        var text = Text(json);
        var at = random.Next(text.Length + 1);
        switch (random.Next(9))
        {
            case 0: return text[..at];
            case 1: return [.. text, .. text];
            case 2: return [.. text[..at], .. Encoding.UTF8.GetBytes(Extremes.NoValues[random.Next(Extremes.NoValues.Length)]), .. text[at..]];
            case 3: return Encoding.UTF8.GetBytes(new string(random.Next(2) == 0 ? '[' : '{', Deep));
            case 4: return Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("{\"x\":[", Deep)));
            case 5: return [0xEF, 0xBB, 0xBF, .. text];
            case 6: return Encoding.Unicode.GetBytes(Encoding.UTF8.GetString(text));
            case 7 when at < text.Length:
                text[at] = (byte)random.Next(256);
                return text;
            default:
                var noise = new byte[random.Next(200)];
                random.NextBytes(noise);
                return noise;
        }
    }

    private void Change(List<Place> places)
    {
        if (places.Count == 0) return;
        var place = places[random.Next(places.Count)];
        switch (random.Next(10))
        {
            case 0: place.Remove(); break;
            case 1: Rename(place, random.Next(3) switch { 0 => place.Name + "s", 1 => place.Name.ToUpperInvariant(), _ => Extremes.Texts[random.Next(Extremes.Texts.Length)] }); break;
            case 2: Replace(place, null); break;
            case 3: Replace(place, Raw(Extremes.Values[random.Next(Extremes.Values.Length)])); break;
            case 4: Replace(place, Raw(Extremes.NoValues[random.Next(Extremes.NoValues.Length)])); break;
            case 5: Replace(place, JsonValue.Create(place.Value?.ToJsonString() ?? "null")); break;
            case 6: Replace(place, new JsonArray(place.Value?.DeepClone(), place.Value?.DeepClone())); break;
            case 7: Replace(place, new JsonObject { [place.Name] = place.Value?.DeepClone() }); break;
            // The same field twice, with the same value or another one.
            case 8 when place.Parent is JsonObject parent: parent[Word($"\"{place.Name}\"")] = random.Next(2) == 0 ? place.Value?.DeepClone() : JsonValue.Create(1); break;
            default: Replace(place, Raw(random.Next(4) switch { 0 => Nested(), 1 => Array("0"), 2 => Array("[1,2,3]"), _ => Array("\"NaN\"") })); break;
        }
    }

    private static string Nested() => $"{new string('[', Deep)}{new string(']', Deep)}";

    private static string Array(string item) => $"[{string.Join(',', Enumerable.Repeat(item, Many))}]";

    private void Rename(Place place, string name)
    {
        if (place.Parent is not JsonObject parent) return;
        var value = place.Value?.DeepClone();
        place.Remove();
        parent[name] = value;
    }

    private static void Replace(Place place, JsonNode? value)
    {
        if (place.Parent is JsonObject parent) parent[place.Name] = value;
        else ((JsonArray)place.Parent)[place.Index] = value;
    }

    private JsonNode Raw(string text) => JsonValue.Create(Word(text));

    private string Word(string text)
    {
        _texts.Add(text);
        return string.Create(CultureInfo.InvariantCulture, $"@text{_texts.Count - 1}@");
    }

    private byte[] Written(JsonNode? json)
    {
        var text = json?.ToJsonString(Compact) ?? "null";
        for (var i = 0; i < _texts.Count; i++) text = text.Replace(string.Create(CultureInfo.InvariantCulture, $"\"@text{i}@\""), _texts[i], StringComparison.Ordinal);
        return Encoding.UTF8.GetBytes(text);
    }

    // Of a tensor's elements the first few stand for all.
    private static List<Place> PlacesOf(JsonNode? json)
    {
        var places = new List<Place>();
        Add(json);
        return places;

        void Add(JsonNode? node)
        {
            if (node is JsonObject members)
            {
                foreach (var (name, value) in members.ToList())
                {
                    places.Add(new Place(members, name, 0, value));
                    Add(value);
                }
            }
            else if (node is JsonArray items)
            {
                for (var i = 0; i < Math.Min(items.Count, 3); i++)
                {
                    places.Add(new Place(items, "item", i, items[i]));
                    Add(items[i]);
                }
            }
        }
    }

    private sealed record Place(JsonNode Parent, string Name, int Index, JsonNode? Value)
    {
        public void Remove()
        {
            if (Parent is JsonObject members) members.Remove(Name);
            else ((JsonArray)Parent).RemoveAt(Index);
        }
    }
}
