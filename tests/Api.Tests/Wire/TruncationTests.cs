namespace BnService.Api.Tests.Wire;

/// <summary>A body that ends at any byte before its last, however it ends, is refused and changes nothing.</summary>
[Collection(WholeProcess.Name)]
public sealed class TruncationTests : IDisposable
{
    private readonly long _rentedBefore = Service.RentedBytes;
    private readonly Service _service = Service.OnKestrel();

    /// <summary>How a body ends too early.</summary>
    public enum Ending
    {
        /// <summary>Content-Length says what comes, which is less than the header of the format announces.</summary>
        Announced,

        /// <summary>The last chunk comes too early.</summary>
        LastChunk,

        /// <summary>Content-Length says more than what comes before the connection ends.</summary>
        Hangup,

        /// <summary>The connection ends in the middle of a chunk.</summary>
        HangupInChunk,
    }

    public static TheoryData<string, Ending> Endings
    {
        get
        {
            var data = new TheoryData<string, Ending>();
            foreach (var form in (string[])[Forms.Safetensors, Forms.Npy])
            {
                foreach (var ending in Enum.GetValues<Ending>()) data.Add(form, ending);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Endings))]
    public async Task A_body_that_ends_too_early_is_refused_at_every_byte(string form, Ending ending)
    {
        var session = await _service.CreateAsync("""{"num_features":2}""");
        var before = await session.StateAsync();
        var body = Message.Of(new Batch([2, 2], [1, 2, 3, 5])).Body(form);
        for (var length = 0; length < body.Length; length++)
        {
            using var connection = await _service.ConnectAsync();
            var isChunked = ending is Ending.LastChunk or Ending.HangupInChunk;
            await connection.WriteHeadAsync("POST", $"{session.Path}/train-step", ("Content-Type", form), isChunked
                ? ("Transfer-Encoding", "chunked") : ("Content-Length", $"{(ending == Ending.Announced ? length : body.Length)}"));
            if (ending == Ending.HangupInChunk) await connection.WriteAsync($"{body.Length:x}\r\n");
            if (ending == Ending.LastChunk && length > 0) await connection.WriteChunkAsync(body[..length]);
            else await connection.WriteAsync(body.AsMemory(0, length));
            if (ending == Ending.LastChunk) await connection.WriteAsync("0\r\n\r\n");
            if (ending is Ending.Hangup or Ending.HangupInChunk) connection.EndWriting();
            var answer = await connection.ReadAnswerAsync();
            // Where the connection ends there may be nobody left to answer.
            Assert.True(answer.Status == 400 || (answer.Status == 0 && ending is Ending.Hangup or Ending.HangupInChunk), $"at byte {length}: {answer.Status} {answer.Text}");
        }
        Assert.Equal(before, await session.StateAsync());
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    public void Dispose() => _service.Dispose();
}
