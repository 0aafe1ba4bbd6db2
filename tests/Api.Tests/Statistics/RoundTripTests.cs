using System.Globalization;

namespace BnService.Api.Tests.Statistics;

/// <summary>How numbers travel.</summary>
public sealed class RoundTripTests(Service service) : IClassFixture<Service>
{
    /// <summary>A session whose inference is the identity gives every float32 back, in its shortest form.</summary>
    [Fact]
    public async Task Every_float_comes_back_bit_by_bit_in_its_shortest_form()
    {
        var session = await service.CreateAsync("""{"num_features":1,"eps":0}""");
        var random = new Random(5);
        float[] values =
        [
            0, 1, -1, 0.1f, 16777216, 16777217, 1e-45f, 1.1754944e-38f, 1.1754942e-38f, float.MaxValue, float.MinValue, float.Epsilon, 1e10f, 1.5e-7f, 3.4e38f,
            .. Enumerable.Range(0, 5000).Select(_ => BitConverter.Int32BitsToSingle(random.Next(1, 0x7f800000)) * (random.Next(2) == 0 ? 1 : -1)),
        ];
        var answer = (await session.InferAsync(new Batch([values.Length, 1], values))).Expect(200);
        var sent = answer["y"].GetProperty("data").EnumerateArray().Select(element => element.GetRawText()).ToArray();
        for (var i = 0; i < values.Length; i++)
        {
            Assert.Equal(BitConverter.SingleToInt32Bits(values[i]), BitConverter.SingleToInt32Bits(float.Parse(sent[i], CultureInfo.InvariantCulture)));
            Assert.Equal(values[i].ToString("R", CultureInfo.InvariantCulture), sent[i]);
        }
    }

    [Fact]
    public async Task A_large_tensor_is_answered_as_completely_as_a_small_one()
    {
        var session = await service.CreateAsync("""{"num_features":100,"eps":0}""");
        var x = Batch.Random(3, 1000, 100);
        var answer = (await session.InferAsync(x)).Expect(200);
        Assert.Equal(x.Shape, answer.Tensor("y").Shape);
        Assert.Equal(x.Data, answer.Tensor("y").Data);
    }
}
