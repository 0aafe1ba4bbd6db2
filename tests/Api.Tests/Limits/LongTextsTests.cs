using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Limits;
using BnService.Api.Sessions;
using BnService.Api.Wire.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Limits;

/// <summary>Text of long arrays takes a core for as long as it lasts: answers write it in turns, and small ones do not wait for that.</summary>
public sealed class LongTextsTests : IDisposable
{
    private readonly ServiceProvider _services = new ServiceCollection()
        .AddSingleton(Options.Create(new ComputeOptions { LargeBatches = 1 })).AddSingleton<LongTexts>().BuildServiceProvider();

    public void Dispose() => _services.Dispose();

    [Fact]
    public async Task A_long_array_is_written_when_no_other_is_and_a_short_one_at_once()
    {
        var (held, output) = (await LongTexts.EnterAsync(Context(), LongTexts.LongNumbers), new MemoryStream());
        await WriteAsync(LongTexts.LongNumbers - 1, new MemoryStream());
        var waiting = WriteAsync(LongTexts.LongNumbers, output);
        await Task.Delay(50);
        Assert.False(waiting.IsCompleted);
        held.Dispose();
        await waiting;
        Assert.True(output.Length > LongTexts.LongNumbers);
        // It has been given back.
        (await LongTexts.EnterAsync(Context(), LongTexts.LongNumbers)).Dispose();
    }

    private Task WriteAsync(int numbers, Stream output)
    {
        var context = Context();
        context.Response.Body = output;
        return JsonMessageWriter.WriteAsync(context.Response, new UnionState { Mean = new double[numbers], MeanResidual = [], M2 = [] },
            (JsonTypeInfo<UnionState>)ContractJson.Context.GetTypeInfo(typeof(UnionState))!);
    }

    private DefaultHttpContext Context() => new() { RequestServices = _services };
}
