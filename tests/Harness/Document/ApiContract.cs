using System.Text;
using System.Text.Json;

namespace BnService.Harness;

/// <summary>What every answer must keep to, whatever was asked.</summary>
public static class ApiContract
{
    private static readonly Dictionary<string, int> StatusByCode = new()
    {
        ["malformed-body"] = 400,
        ["bad-request"] = 400,
        ["unauthorized"] = 401,
        ["forbidden"] = 403,
        ["foreign-origin"] = 403,
        ["session-not-found"] = 404,
        ["key-not-found"] = 404,
        ["version-not-found"] = 404,
        ["not-found"] = 404,
        ["method-not-allowed"] = 405,
        ["not-acceptable"] = 406,
        ["request-timeout"] = 408,
        ["session-exists"] = 409,
        ["no-running-statistics"] = 409,
        ["state-damaged"] = 409,
        ["limit-reached"] = 409,
        ["last-admin-key"] = 409,
        ["step-expired"] = 410,
        ["version-conflict"] = 412,
        ["payload-too-large"] = 413,
        ["unsupported-media-type"] = 415,
        ["misdirected-request"] = 421,
        ["shape-mismatch"] = 422,
        ["invalid-option"] = 422,
        ["idempotency-key-reused"] = 422,
        ["batch-too-small"] = 422,
        ["non-finite-input"] = 422,
        ["internal-error"] = 500,
        ["too-many-requests"] = 429,
        ["overloaded"] = 503,
        ["sync-timeout"] = 504,
    };

    /// <summary>Every problem code of the contract so far.</summary>
    public static IReadOnlyCollection<string> Codes => StatusByCode.Keys;

    public static int StatusOf(string code) => StatusByCode[code];

    /// <summary>Holds an answer against the contract.</summary>
    public static void Check(string method, string path, Answer answer)
    {
        var what = $"{method} {path} answered {answer.Status}: {Encoding.UTF8.GetString(answer.Body, 0, Math.Min(answer.Body.Length, 2000))}";
        Assert.True(answer.Status < 500 || (answer.Status == 504 && path.Contains("/sync/", StringComparison.Ordinal)) || (answer.Status == 503 && path is "/health/ready" or "/v2/health/ready"), what);
        Assert.True(answer.Status != 401 || answer.Headers.GetValueOrDefault("WWW-Authenticate") == "Bearer", what);
        if ($"{path}/".StartsWith("/v2/", StringComparison.OrdinalIgnoreCase))
        {
            CheckOpenInference(method, answer, what);
            return;
        }
        if (answer.Status >= 400) CheckProblem(method, answer, what);
        else CheckSuccess(answer, what);
        if (ApiDocument.CheckedIn.Find(method, path) is { } operation) operation.Check(answer, what);
    }

    // Clients of the protocol look for the one member, and some only where the type is application/json and nothing behind it.
    private static void CheckOpenInference(string method, Answer answer, string what)
    {
        Assert.True(answer.Status == 200 ? answer.ContentType is "application/json" or "application/octet-stream" : answer.Headers["Content-Type"] == "application/json", what);
        if (answer.Status == 200 || method == "HEAD") return;
        Assert.True(answer.Status is 400 or 401 or 403 or 404 or 405 or 413 or 421 or 429 or 503, what);
        Assert.False(answer.Headers.ContainsKey("Content-Encoding"), what);
        Assert.Equal(["error"], answer.Json.EnumerateObject().Select(property => property.Name));
        Assert.False(string.IsNullOrWhiteSpace(answer["error"].GetString()), what);
        Assert.False(answer.Text.Contains("Exception", StringComparison.Ordinal), $"an exception's name: {what}");
    }

    private static void CheckProblem(string method, Answer answer, string what)
    {
        Assert.True(answer.ContentType == "application/problem+json", $"not a problem: {what}");
        if (method == "HEAD") return;
        Assert.Equal(["code", "detail", "status", "title", "trace_id", "type"],
            answer.Json.EnumerateObject().Select(property => property.Name).Order(StringComparer.Ordinal));
        var code = answer["code"].GetString()!;
        Assert.True(StatusByCode.ContainsKey(code), $"unknown code: {what}");
        Assert.True(answer.Status == StatusByCode[code] && answer["status"].GetInt32() == answer.Status, $"wrong status: {what}");
        Assert.Equal($"/problems/{code}", answer["type"].GetString());
        foreach (var field in (string[])["title", "detail", "trace_id"])
            Assert.False(string.IsNullOrWhiteSpace(answer[field].GetString()), $"{field} is empty: {what}");
        Assert.False(answer.Text.Contains("   at ", StringComparison.Ordinal), $"a stack trace: {what}");
        Assert.False(answer.Text.Contains("Exception", StringComparison.Ordinal), $"an exception's name: {what}");
    }

    private static void CheckSuccess(Answer answer, string what)
    {
        if (answer.Status == 204) Assert.Empty(answer.Body);
        if (answer.Json.ValueKind == JsonValueKind.Object && answer.Json.TryGetProperty("version", out var version))
            Assert.True(answer.ETag == $"\"{version.GetInt64()}\"", $"ETag {answer.ETag} is not the version: {what}");
        if (answer.Headers.TryGetValue("Bn-State-Version", out var inHeader))
            Assert.True(answer.ETag == $"\"{inHeader}\"", $"ETag {answer.ETag} is not the version {inHeader}: {what}");
        if (answer.ContentType == Forms.Safetensors && answer.Tensors.Texts.TryGetValue("version", out var inText))
            Assert.True(answer.ETag == $"\"{inText}\"", $"ETag {answer.ETag} is not the version {inText}: {what}");
    }
}
