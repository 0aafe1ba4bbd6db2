using System.Text.Json;
using BnService.Api.Wire;

namespace BnService.Api.Contracts;

/// <summary>The options in which two sessions differ: what they compute with, in this service's terms, whatever convention they were sent in.</summary>
internal static class OptionDifferences
{
    private static readonly string[] Options =
    [
        .. ContractField.Of(ContractJson.Context.CreateSessionRequest).Where(field => field.Property.Set is not null).Select(field => field.Name)
            .Except(["name", "labels", "convention"]),
    ];

    /// <summary>A sentence about each of them; null where there is none.</summary>
    /// <param name="there">The session that is there.</param>
    /// <param name="sent">The one that was asked for.</param>
    public static string? Between(SessionResource there, SessionResource sent)
    {
        var (stored, asked) = (Fields(there), Fields(sent));
        var differing = Options.Where(option => Text(stored, option) != Text(asked, option)).ToList();
        return differing.Count == 0 ? null
            : string.Join("; ", differing.Select(option => $"{option} is {Text(stored, option)}, sent was {Text(asked, option)}"));
    }

    private static JsonElement Fields(SessionResource session) => JsonSerializer.SerializeToElement(session, ContractJson.Context.SessionResource);

    private static string Text(JsonElement fields, string option) => fields.TryGetProperty(option, out var value) ? value.GetRawText() : "absent";
}
