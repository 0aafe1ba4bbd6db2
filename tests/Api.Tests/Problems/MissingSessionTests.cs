using System.Net.Http.Headers;

namespace BnService.Api.Tests.Problems;

public sealed class MissingSessionTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("POST", "train-step", "application/json")]
    [InlineData("POST", "train-step", "application/x-safetensors")]
    [InlineData("POST", "train-step", "application/x-npy")]
    [InlineData("POST", "inference", "application/x-npy")]
    [InlineData("POST", "backward", "application/x-safetensors")]
    [InlineData("POST", "calibration/batches", "application/x-npy")]
    [InlineData("POST", "merge", "application/x-safetensors")]
    [InlineData("POST", "fold", "application/x-safetensors")]
    [InlineData("POST", "snapshots", "application/json")]
    [InlineData("PUT", "parameters", "application/json")]
    [InlineData("PATCH", "", "application/json")]
    public async Task A_call_on_a_session_that_does_not_exist_is_404_whatever_its_body_is(string method, string call, string form)
    {
        using var body = new ByteArrayContent("no such thing"u8.ToArray());
        body.Headers.ContentType = new MediaTypeHeaderValue(form);
        var answer = await service.Unchecked.SendAsync(new HttpMethod(method), $"/v1/sessions/missing/{call}".TrimEnd('/'), body);
        answer.ExpectProblem("session-not-found");
    }
}
