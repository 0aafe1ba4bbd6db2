using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Streaming;

/// <summary>Clients that break off in the middle of a large batch: all memory comes back, nothing changes, and the service goes on.</summary>
[Collection(WholeProcess.Name)]
public sealed class StreamingFailureTests : IDisposable
{
    private readonly long _rentedBefore = Service.RentedBytes;
    private readonly Service _service = Service.OnKestrel();

    public static TheoryData<string, string, string> Cases
    {
        get
        {
            var data = new TheoryData<string, string, string>();
            foreach (var form in (string[])[Forms.Npy, Forms.Safetensors])
            {
                data.Add("""{"num_features":64}""", "inference", form);
                data.Add("""{"normalized_shape":[64],"kind":"layer_norm"}""", "inference", form);
                data.Add("""{"num_features":64}""", "train-step", form);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_client_that_goes_away_while_it_sends_leaves_nothing_behind(string options, string call, string form)
    {
        var session = await _service.CreateAsync(options);
        var before = await session.StateAsync();
        var body = Message.Of(Batch.Random(1, 8192, 64)).Body(form);
        for (var part = 1; part < 8; part++)
        {
            using var connection = await _service.ConnectAsync();
            await connection.WriteHeadAsync("POST", $"{session.Path}/{call}", ("Content-Type", form), ("Content-Length", $"{body.Length}"));
            await connection.WriteAsync(body.AsMemory(0, (body.Length * part / 8) + 1));
            if (call == "inference") await connection.ReadUntilAsync("\r\n\r\n");
            else await Eventually.TrueAsync(() => Service.RentedBytes > _rentedBefore, "the service has not begun to read");
            connection.Abort();
            await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        }
        Assert.Equal(before, await session.StateAsync());
        (await session.PostAsync(call, Message.Of(Batch.Random(1, 8192, 64)), form)).Expect(200);
    }

    [Theory]
    [InlineData(Forms.Npy)]
    [InlineData(Forms.Safetensors)]
    public async Task A_client_that_goes_away_while_it_receives_leaves_nothing_behind(string form)
    {
        var session = await _service.CreateAsync("""{"num_features":64}""");
        var body = Message.Of(Batch.Random(1, 65536, 64)).Body(form);
        for (var i = 0; i < 3; i++)
        {
            using var connection = await _service.ConnectAsync();
            await connection.WriteHeadAsync("POST", $"{session.Path}/inference", ("Content-Type", form), ("Content-Length", $"{body.Length}"));
            await connection.WriteAsync(body);
            await connection.ReadUntilAsync("\r\n\r\n");
            // What the client has not taken is somewhere.
            Assert.True(Service.RentedBytes > _rentedBefore, "the whole answer has been written although nobody reads it");
            connection.Abort();
            await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        }
        (await session.PostAsync("inference", Message.Of(Batch.Random(1, 10, 64)), form)).Expect(200);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Half_a_body_ends_the_connection_or_is_refused(string options, string call, string form)
    {
        var session = await _service.CreateAsync(options);
        var before = await session.StateAsync();
        var body = Message.Of(Batch.Random(1, 8192, 64)).Body(form);
        foreach (var length in (int[])[1, 100, 1000, body.Length / 2, (body.Length / 2) + 1, body.Length - 1])
        {
            using var connection = await _service.ConnectAsync();
            await connection.WriteHeadAsync("POST", $"{session.Path}/{call}", ("Content-Type", form), ("Content-Length", $"{body.Length}"));
            var reading = connection.ReadAnswerAsync();
            await connection.WriteAsync(body.AsMemory(0, length));
            connection.EndWriting();
            var answer = await reading;
            Assert.True(answer.Status is 400 or 0 || (answer is { Status: 200, IsWhole: false } && call == "inference"), $"after {length} bytes: {answer.Status} {answer.Text}");
            await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
        }
        Assert.Equal(before, await session.StateAsync());
    }

    /// <summary>Memory for a body that is read and answered piece by piece does not depend on its length.</summary>
    [Theory]
    [InlineData(Forms.Npy)]
    [InlineData(Forms.Safetensors)]
    public async Task A_client_that_reads_while_it_sends_costs_memory_that_does_not_grow(string form)
    {
        var session = await _service.CreateAsync("""{"num_features":64}""");
        (await session.PostAsync("inference", Message.Of(Batch.Random(1, 4, 64)), form)).Expect(200);
        var (small, large) = (await MostRentedAsync(session, form, 8), await MostRentedAsync(session, form, 128));
        Assert.True(large <= small + (4 << 20), $"8 MB take {small} bytes of memory, 128 MB {large}");
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    /// <summary>Kestrel's minimum data rate, with a shorter grace so that the test is.</summary>
    [Theory]
    [InlineData("inference")]
    [InlineData("train-step")]
    public async Task A_client_that_sends_too_slowly_is_let_go(string call)
    {
        using var service = Service.OnKestrel(services => services.PostConfigure<KestrelServerOptions>(kestrel =>
            kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(1 << 20, TimeSpan.FromSeconds(1.5))));
        var session = await service.CreateAsync("""{"num_features":64}""");
        var before = await session.StateAsync();
        var body = Message.Of(Batch.Random(1, 8192, 64)).Body(Forms.Npy);
        using var connection = await service.ConnectAsync();
        await connection.WriteHeadAsync("POST", $"{session.Path}/{call}", ("Content-Type", Forms.Npy), ("Content-Length", $"{body.Length}"));
        await connection.WriteAsync(body.AsMemory(0, 100_000));
        var answer = await connection.ReadAnswerAsync();
        Assert.True(answer.Status == 408 || !answer.IsWhole, $"{answer.Status} {answer.Text}");
        Assert.Equal(before, await session.StateAsync());
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    public void Dispose() => _service.Dispose();

    // Sends zeros, and more of them only when the answer to all but the last has come: one that waits for the whole body never comes.
    private async Task<long> MostRentedAsync(SessionClient session, string form, int megabytes)
    {
        var rows = megabytes * 4096;
        var length = (long)rows * 256;
        var head = form == Forms.Npy
            ? ArrayFile.Of($"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 64), }}", [])
            : TensorFile.Of($"{{\"x\":{{\"dtype\":\"F32\",\"shape\":[{rows},64],\"data_offsets\":[0,{length}]}}}}");
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", $"{session.Path}/inference", ("Content-Type", form), ("Content-Length", $"{head.Length + length}"));
        await connection.WriteAsync(head);
        long most = 0;
        long received = 0;
        var piece = new byte[1 << 20];
        for (long sent = 0; sent < length;)
        {
            await connection.WriteAsync(piece);
            sent += piece.Length;
            received += await connection.CountAsync(sent - received - (piece.Length / 2)).WaitAsync(TimeSpan.FromSeconds(60));
            most = Math.Max(most, Service.RentedBytes - _rentedBefore);
        }
        Assert.True(received + await connection.CountAsync(length - received) >= length, "the answer is cut");
        return most;
    }
}
