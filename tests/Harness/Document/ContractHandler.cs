namespace BnService.Harness;

/// <summary>Fails the test whose request is answered otherwise than the contract says, whatever the test itself is about.</summary>
public sealed class ContractHandler : DelegatingHandler
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var response = await base.SendAsync(request, cancellationToken);
        // Events have no end: of them the head is looked at.
        if (response.Content.Headers.ContentType?.MediaType == "text/event-stream") response.Content = HeadOf(response.Content);
        await response.Content.LoadIntoBufferAsync(cancellationToken);
        ApiContract.Check(request.Method.Method, request.RequestUri!.AbsolutePath, await Answer.ReadAsync(response));
        return response;
    }

    private static ByteArrayContent HeadOf(HttpContent content)
    {
        using (content)
        {
            var head = new ByteArrayContent([]);
            foreach (var (name, values) in content.Headers) head.Headers.TryAddWithoutValidation(name, values);
            return head;
        }
    }
}
