using System.Text;

namespace BnService.Api.Tests.Generated;

/// <summary>A request that was made up for an operation of the document.</summary>
/// <param name="Operation">The operation.</param>
/// <param name="Path">Path and query.</param>
/// <param name="Session">The session in the path, where it is one of those that are always there.</param>
/// <param name="Headers">Its headers.</param>
/// <param name="Form">What it says its body is; null for no body, or a body that says nothing.</param>
/// <param name="Body">The body; null for none.</param>
internal sealed record GeneratedRequest(
    ApiOperation Operation, string Path, KnownSession? Session, (string Name, string Value)[] Headers, string? Form, byte[]? Body)
{
    private const int ShownBytes = 4000;

    /// <summary>Whether it may change the session.</summary>
    public bool Changes => Session is not null && Operation.Method != "GET" && Operation.Id is not ("Inference" or "Fold");

    public Task<Answer> SendAsync(ServiceClient client)
    {
        var content = Body is null ? null : new ByteArrayContent(Body);
        if (Form is not null) Assert.True(content!.Headers.TryAddWithoutValidation("Content-Type", Form));
        return client.SendAsync(new HttpMethod(Operation.Method), Path, content, Headers);
    }

    /// <summary>All of it, so that it can be sent again by hand.</summary>
    public override string ToString()
    {
        var text = new StringBuilder($"{Operation.Method} {Path}\n");
        foreach (var (name, value) in Headers) text.Append(name).Append(": ").Append(value).Append('\n');
        if (Form is not null) text.Append("Content-Type: ").Append(Form).Append('\n');
        if (Body is null) return text.ToString();
        return text.Append('\n').Append(Body.Length <= ShownBytes ? Encoding.UTF8.GetString(Body) : $"{Encoding.UTF8.GetString(Body, 0, ShownBytes)}… ({Body.Length} bytes)").ToString();
    }
}
