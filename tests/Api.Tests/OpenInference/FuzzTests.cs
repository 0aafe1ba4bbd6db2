using System.Globalization;
using System.Text;
using BnService.Core.Tensors;

namespace BnService.Api.Tests.OpenInference;

/// <summary>
/// Infer requests that were right before something happened to them, and bytes that never were. None costs a 5xx, memory or state.
/// BN_SOAK in the environment makes it 200,000 of them.
/// </summary>
[Collection(WholeProcess.Name)]
public sealed class FuzzTests : IDisposable
{
    private const int MaxBodyBytes = 1 << 16;
    private const long AllowedBytes = 16L * MaxBodyBytes;

    private static readonly string[] Words =
    [
        "{", "}", "[", "]", ",", ":", "\"", "null", "true", "NaN", "-Infinity", "1e999", "-", "0", "18446744073709551616", "\\ud800", "\0", "é",
        "\"data\"", "\"shape\"", "\"x\"", "\"inputs\"", "\"parameters\"", "\"binary_data_size\"", "FP16", "FP64", "2147483647", "[[[[[[[[[[",
    ];

    private readonly Service _service = Service.With(("Limits:MaxBodyBytes", $"{MaxBodyBytes}"), ("Limits:MaxStatistics", "64"));

    [Fact]
    public async Task Nothing_that_is_sent_costs_more_than_its_answer()
    {
        const int seed = 20251;
        var count = Environment.GetEnvironmentVariable("BN_SOAK") is null ? 20_000 : 200_000;
        ModelClient[] models = [await _service.TrainedModelAsync(), await _service.ModelAsync("""{"kind":"layer_norm","normalized_shape":[2,3]}""")];
        var states = await StatesAsync(models);
        var (before, heldBefore) = await Eventually.SettledAsync(() => (Service.RentedBytes, Held));
        var answered = 0;
        for (var number = 0; number < count; number++)
        {
            var random = new Random(seed + number);
            var (body, headers) = Mutated(random);
            try
            {
                // The harness holds each answer against the protocol: 200 or an error of its own, never a 5xx.
                var answer = await models[random.Next(models.Length)].SendAsync(body, headers);
                if (answer.Status == 200) answered++;
                // Memory that was used meanwhile waits in the pool, or has gone back where that is full.
                Assert.True(Held - heldBefore <= AllowedBytes, $"{Held - heldBefore} bytes more are held");
            }
            catch (Exception exception)
            {
                throw new InvalidOperationException($"request {number} of seed {seed}: {Convert.ToBase64String(body)} with {string.Join("; ", headers)}", exception);
            }
        }
        await Eventually.EqualAsync(before, () => Service.RentedBytes);
        Assert.Equal(states, await StatesAsync(models));
        // Neither all right nor all wrong: otherwise the mutations would say nothing.
        Assert.InRange(answered, count / 50, count * 9 / 10);
    }

    private static long Held => NativeBuffer.RentedBytes + NativeBuffer.IdleBytes;

    public void Dispose() => _service.Dispose();

    private static async Task<string> StatesAsync(ModelClient[] models) =>
        string.Concat(await Task.WhenAll(models.Select(model => model.Session.StateAsync())));

    private static (byte[] Body, (string Name, string Value)[] Headers) Mutated(Random random)
    {
        if (random.Next(20) == 0)
        {
            var noise = new byte[random.Next(300)];
            random.NextBytes(noise);
            return (noise, random.Next(2) == 0 ? [] : [(ModelClient.LengthHeader, Text(random.Next(-1, 300)))]);
        }
        var (json, tensor) = Valid(random);
        var bytes = Encoding.UTF8.GetBytes(json).ToList();
        var length = bytes.Count;
        bytes.AddRange(tensor);
        for (var mutations = random.Next(4); mutations > 0; mutations--) Mutate(random, bytes);
        if (random.Next(8) == 0) length += random.Next(-3, 4);
        return ([.. bytes], tensor.Length == 0 && random.Next(4) > 0 ? [] : [(ModelClient.LengthHeader, Text(length))]);
    }

    private static (string Json, byte[] Tensor) Valid(Random random)
    {
        int[] shape = random.Next(3) switch { 0 => [random.Next(4), 3], 1 => [1 + random.Next(3), 2, 3], _ => [2, 3, 2, 2] };
        var x = Batch.Random(random.Next(), shape);
        var datatype = ((string[])["FP32", "FP64", "FP16", "BF16"])[random.Next(4)];
        var more = random.Next(2) == 0 ? """ "parameters":{"binary_data_output":true},"id":"a",""" : """ "outputs":[{"name":"y","parameters":{"binary_data":true}}],""";
        if (random.Next(2) == 0) return (ModelClient.Request(ModelClient.Input(x, "FP32", nested: random.Next(2) == 0), random.Next(3) == 0 ? "" : more), []);
        var tensor = TensorBytes.Write(datatype, x.Data);
        return (ModelClient.Request(ModelClient.BinaryInput(shape, datatype, tensor.Length), more), tensor);
    }

    private static void Mutate(Random random, List<byte> bytes)
    {
        var at = random.Next(bytes.Count + 1);
        var span = Math.Min(random.Next(1, 12), bytes.Count - at);
        switch (random.Next(6))
        {
            case 0 when at < bytes.Count:
                bytes[at] ^= (byte)(1 << random.Next(8));
                break;
            case 1:
                bytes.RemoveRange(at, span);
                break;
            case 2:
                bytes.InsertRange(random.Next(bytes.Count + 1), bytes.GetRange(at, span));
                break;
            case 3:
                bytes.InsertRange(at, Encoding.UTF8.GetBytes(Words[random.Next(Words.Length)]));
                break;
            case 4:
                bytes.RemoveRange(at, bytes.Count - at);
                break;
            default:
                bytes.RemoveRange(at, span);
                bytes.InsertRange(at, Encoding.UTF8.GetBytes(Words[random.Next(Words.Length)]));
                break;
        }
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
