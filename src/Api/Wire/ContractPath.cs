using System.Globalization;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Wire.Json;

namespace BnService.Api.Wire;

/// <summary>Fields of a message by their paths, as binary forms name them: <c>gamma</c>, <c>seen.mean</c>, <c>moments.0.m2</c>.</summary>
internal static class ContractPath
{
    /// <summary>Sets a field whose place is there: everything on the way to it is.</summary>
    /// <param name="message">The message.</param>
    /// <param name="contract">Metadata of its type.</param>
    /// <param name="path">The field's path.</param>
    /// <param name="value">Its value.</param>
    public static void Set(object message, JsonTypeInfo contract, string path, object value)
    {
        var names = path.Split('.');
        var at = message;
        foreach (var name in names[..^1])
        {
            at = at is Array entries
                ? entries.GetValue(int.Parse(name, CultureInfo.InvariantCulture))!
                : JsonMessageReader.Find(contract.Options.GetTypeInfo(at.GetType()), name, "").Property.Get!(at)!;
        }
        if (at is Array array) array.SetValue(value, int.Parse(names[^1], CultureInfo.InvariantCulture));
        else JsonMessageReader.Find(contract.Options.GetTypeInfo(at.GetType()), names[^1], "").Property.Set!(at, value);
    }
}
