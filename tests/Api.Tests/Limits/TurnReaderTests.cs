using System.IO.Pipelines;
using System.Text;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Connections;
using BnService.Api.Hosting.Limits;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Limits;

public sealed class TurnReaderTests
{
    /// <summary>As it was, the server logged an exception for some clients that went while their body was read.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_server_that_reads_on_before_it_gave_back_what_it_read_finds_the_end(bool isKnown)
    {
        var places = new ConnectionPlaces(Options.Create(new LimitOptions { MaxConnections = 8 }), new ManualTime(), NullLogger<ConnectionPlaces>.Instance);
        var place = places.Admit(new DefaultConnectionContext())!;
        if (isKnown) place.Recognize(Caller.Stranger);
        var pipe = new Pipe();
        var reader = new TurnReader(pipe.Reader, place);
        await pipe.Writer.WriteAsync("body"u8.ToArray());
        Assert.Equal(4, (await reader.ReadAsync()).Buffer.Length);
        var end = await reader.ReadAsync();
        Assert.True(end is { IsCompleted: true, Buffer.IsEmpty: true });
        reader.AdvanceTo(end.Buffer.Start, end.Buffer.End);
        // Nothing was lost, and the reader is as it was.
        Assert.Equal("body", Encoding.ASCII.GetString((await reader.ReadAsync()).Buffer.FirstSpan));
    }
}
