namespace BnService.Api.Tests.Harness;

/// <summary>Fails the test whose request is answered otherwise than the contract says, whatever the test itself is about.</summary>
public sealed class ContractHandler : DelegatingHandler
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var response = await base.SendAsync(request, cancellationToken);
        await response.Content.LoadIntoBufferAsync(cancellationToken);
        ApiContract.Check(request.Method.Method, request.RequestUri!.AbsolutePath, await Answer.ReadAsync(response));
        return response;
    }
}
