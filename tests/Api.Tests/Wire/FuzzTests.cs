using BnService.Api.Contracts;
using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Core;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Wire;

/// <summary>Bodies that nobody would write: the readers refuse them or read them, hold no more memory than was sent and allowed, and give it back.</summary>
[Collection(WholeProcess.Name)]
public sealed class FuzzTests
{
    private const int Limit = 1 << 20;

    private static readonly int Inputs = Environment.GetEnvironmentVariable("BN_SOAK") is null ? 40_000 : 220_000;

    private readonly ServiceProvider _services = new ServiceCollection()
        .AddSingleton(Options.Create(new LimitOptions { MaxBodyBytes = Limit })).BuildServiceProvider();

    [Theory]
    [InlineData(Forms.Safetensors, 1)]
    [InlineData(Forms.Npy, 2)]
    public async Task Whatever_is_sent_is_read_or_refused(string form, int seed)
    {
        var random = new Random(seed);
        var mutation = new Mutation(random, Corpus(form));
        var (read, refused) = (0, 0);
        for (var input = 0; input < Inputs; input++)
        {
            var body = mutation.Next();
            var which = $"seed {seed}, input {input}: {Convert.ToHexString(body)}";
            if (await ReadAsync(form, body, random, which)) read++;
            else refused++;
        }
        // Neither all valid nor all rubbish: what is between them is what this is about.
        Assert.True(read > Inputs / 100 && refused > Inputs / 3, $"{read} read, {refused} refused");
    }

    /// <summary>The whole service: never a 5xx, which the client checks, and never another state.</summary>
    [Theory]
    [InlineData(Forms.Safetensors, 3)]
    [InlineData(Forms.Npy, 4)]
    public async Task Whatever_is_refused_has_changed_nothing(string form, int seed)
    {
        using var service = Service.With(("Limits:MaxBodyBytes", $"{Limit}"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var random = new Random(seed);
        var mutation = new Mutation(random, Corpus(form));
        string[] calls = ["train-step?retain=false", "inference", "backward", "calibration/batches", "train-step"];
        var before = await session.StateAsync();
        for (var input = 0; input < Inputs / 50; input++)
        {
            var (call, body) = (calls[random.Next(calls.Length)], mutation.Next());
            HttpContent content = random.Next(3) == 0 ? new PiecewiseContent(body, form, 1 + random.Next(50)) : ServiceClient.Content(form, body);
            var answer = await service.Client.SendAsync(HttpMethod.Post, $"{session.Path}/{call}", content);
            var after = await session.StateAsync();
            if (answer.Status != 200) Assert.True(before == after, $"seed {seed}, input {input} changed the state: {Convert.ToHexString(body)}");
            before = after;
        }
    }

    private static List<byte[]> Corpus(string form)
    {
        var (x, small) = (Batch.Random(1, 4, 2), new Batch([2, 2], [1, 2, 3, 5]));
        if (form == Forms.Npy)
        {
            return [ArrayFile.Of(x), ArrayFile.Of(x, "F64", fortran: true, major: 2), ArrayFile.Of(x, "F16", major: 3), ArrayFile.Of(Batch.Random(1, 2, 2, 3), "F32", fortran: true),
                ArrayFile.Of(small), ArrayFile.Of(new Batch([0, 2], [])), ArrayFile.Of(new Batch([], [1]))];
        }
        return
        [
            Message.Of(small).Body(form), Message.Of(x).Body(form, "F64"), Message.Of(x).With("retain", "false").With("mask", "[1,0,1,1]").Body(form, "F16"),
            new TensorFile().Add("mask", "U8", 1, 0, 1, 1).Add("x", x, "BF16").Add("residual", x).ToBytes(),
            Message.Of(small).With("dy", small).With("update", """{"optimizer":"sgd"}""").With("mode", "train").Body(form),
            Message.Of(small).With("dy", small).With("update.optimizer", "adam").With("update.eps", "1e-3").Body(form),
            new TensorFile().Add("x", "F32", [0, 2], []).Text("format", "pt").ToBytes(),
            new TensorFile().Text("x", "[[1,2],[3,4]]").Text("dy", small.Json).ToBytes(),
        ];
    }

    // Whether it was read; fails on anything but a refusal.
    private async Task<bool> ReadAsync(string form, byte[] body, Random random, string which)
    {
        var before = NativeBuffer.RentedBytes;
        var stream = new PiecewiseStream(body, random, before + (6L * Math.Max(Limit, body.Length)));
        var context = new DefaultHttpContext { RequestServices = _services };
        var response = new ResponseLifetime();
        context.Features.Set<Microsoft.AspNetCore.Http.Features.IHttpResponseFeature>(response);
        RequestContext.Of(context).Forms = new Negotiation(form, Forms.Json);
        context.Request.Body = stream;
        if (random.Next(2) == 0) context.Request.ContentLength = body.Length;
        var managed = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            await (random.Next(3) switch
            {
                0 => ReadAsync<TrainStepRequest>(context),
                1 => ReadAsync<BackwardRequest>(context),
                _ => ReadAsync<InferenceRequest>(context),
            });
            return true;
        }
        catch (Exception exception) when (exception is ProblemException or LayerException or BadHttpRequestException)
        {
            Assert.False(string.IsNullOrWhiteSpace(exception.Message), which);
            return false;
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException($"an answer of 500 for {which}", exception);
        }
        finally
        {
            response.End();
            Assert.True(NativeBuffer.RentedBytes == before, $"{NativeBuffer.RentedBytes - before} bytes are kept after {which}");
            Assert.False(stream.IsExceeded, $"more memory is held than was sent and allowed: {which}");
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - managed < 4 << 20, $"much was allocated for {which}");
        }
    }

    private static async Task ReadAsync<T>(HttpContext context)
        where T : class => await new Body<T>(context).ReadAsync();

    // Changes bytes, numbers and pieces of valid bodies, and makes some up.
    private sealed class Mutation(Random random, List<byte[]> corpus)
    {
        private static readonly string[] Words =
        [
            "0", "-1", "1.5", "1e9", "2147483648", "4294967296", "9223372036854775807", "18446744073709551615", "{}", "[]", "[", "]", "{", "}", ",", ":", "\"", "'",
            "null", "\"x\"", "\"F64\"", "\"I64\"", "\"shape\"", "\"dtype\"", "\\ud800", "\u00e9", "(", ")", "(,)", "'<f8'", "'<f2'", "True", "(4, 2)", "(2, 4)", "x.data", "mask.0", " ", "\n",
        ];

        public byte[] Next()
        {
            if (random.Next(50) == 0) return Noise();
            var body = corpus[random.Next(corpus.Count)].ToArray();
            for (var changes = random.Next(4); changes > 0 && body.Length > 0; changes--) body = Change(body);
            return body;
        }

        private byte[] Noise()
        {
            var noise = new byte[random.Next(300)];
            random.NextBytes(noise);
            return noise;
        }

        private byte[] Change(byte[] body)
        {
            // More often in the header than behind it.
            var at = random.Next(random.Next(3) == 0 ? body.Length : Math.Min(body.Length, 140));
            switch (random.Next(8))
            {
                case 0: body[at] = (byte)random.Next(256); return body;
                case 1: body[at] ^= (byte)(1 << random.Next(8)); return body;
                case 2: return body[..at];
                case 3: return [.. body, .. Noise()];
                case 4: return [.. body[..at], .. body[Math.Min(body.Length, at + 1 + random.Next(8))..]];
                case 5:
                    var word = System.Text.Encoding.UTF8.GetBytes(Words[random.Next(Words.Length)]);
                    return Fitted([.. body[..at], .. word, .. body[Math.Min(body.Length, at + random.Next(12))..]], body);
                case 6:
                    var other = corpus[random.Next(corpus.Count)];
                    return [.. body[..at], .. other[Math.Min(at, other.Length)..]];
                default:
                    if (at >= '0' && at < body.Length && body[at] is >= (byte)'0' and <= (byte)'9') body[at] = (byte)('0' + random.Next(10));
                    return body;
            }
        }

        // Half of the time the length of a header of named tensors follows its change, so that what is in it is looked at.
        private byte[] Fitted(byte[] changed, byte[] body)
        {
            if (changed.Length < 8 || random.Next(2) == 0 || body[0] == 0x93) return changed;
            BitConverter.TryWriteBytes(changed, BitConverter.ToInt64(changed) + changed.Length - body.Length);
            return changed;
        }
    }

    // Hands out pieces of any sizes, and looks at the memory that is held meanwhile.
    private sealed class PiecewiseStream(byte[] body, Random random, long most) : MemoryStream(body, writable: false)
    {
        public bool IsExceeded { get; private set; }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            IsExceeded |= NativeBuffer.RentedBytes > most;
            var count = random.Next(4) == 0 ? buffer.Length : Math.Min(buffer.Length, 1 + random.Next(40));
            return base.ReadAsync(buffer[..count], cancellationToken);
        }
    }

    // Ends as an answer does: what was registered to go with it goes.
    private sealed class ResponseLifetime : Microsoft.AspNetCore.Http.Features.HttpResponseFeature
    {
        private readonly Stack<(Func<object, Task> Callback, object State)> _completed = new();

        public override void OnCompleted(Func<object, Task> callback, object state) => _completed.Push((callback, state));

        public void End()
        {
            while (_completed.TryPop(out var entry)) Assert.True(entry.Callback(entry.State).IsCompletedSuccessfully);
        }
    }
}
