using BnService.Api.Wire;
using Microsoft.AspNetCore.Http;

namespace BnService.Api.Tests.Wire;

public sealed class MediaTypesTests
{
    [Theory]
    [InlineData("application/json", Forms.Json)]
    [InlineData("Application/JSON; charset=\"utf-8\"", Forms.Json)]
    [InlineData("application/x-npy", Forms.Npy)]
    [InlineData("application/x-safetensors;a=b", Forms.Safetensors)]
    [InlineData("application/x-safetensors2", null)]
    [InlineData("application/*", null)]
    [InlineData("*/*", null)]
    [InlineData("application", null)]
    [InlineData("", null)]
    [InlineData(null, null)]
    public void A_content_type_names_one_form(string? type, string? form) => Assert.Equal(form, MediaTypes.FormOf(type, MediaTypes.Tensors));

    [Theory]
    [InlineData(null, null, Forms.Json)]
    [InlineData(Forms.Npy, null, Forms.Npy)]
    [InlineData("text/plain", null, Forms.Json)]
    [InlineData(Forms.Npy, "*/*", Forms.Npy)]
    [InlineData(Forms.Npy, "", Forms.Npy)]
    [InlineData(Forms.Npy, "application/*;q=0.1", Forms.Npy)]
    [InlineData(Forms.Npy, "*/*, application/x-npy;q=0.5", Forms.Json)]
    [InlineData(Forms.Npy, "application/x-npy;q=0.5, application/x-safetensors", Forms.Safetensors)]
    [InlineData(Forms.Npy, "APPLICATION/JSON;charset=utf-8", Forms.Json)]
    [InlineData(null, "application/x-safetensors, application/x-npy", Forms.Safetensors)]
    [InlineData(null, "*/*;q=0", null)]
    [InlineData(null, "text/html", null)]
    [InlineData(null, "garbage", null)]
    [InlineData(null, "application/*;q=0, */*", null)]
    public void An_answer_has_the_form_that_is_liked_best(string? type, string? accept, string? form)
    {
        var request = new DefaultHttpContext().Request;
        request.ContentType = type;
        if (accept is not null) request.Headers.Accept = accept;
        Assert.Equal(form, MediaTypes.BestFor(request, MediaTypes.Tensors));
    }
}
