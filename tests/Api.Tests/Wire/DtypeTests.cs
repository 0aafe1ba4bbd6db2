namespace BnService.Api.Tests.Wire;

/// <summary>A tensor of any type of numbers is what numpy makes of it: <c>x.astype(numpy.float32)</c>.</summary>
public sealed class DtypeTests(Service service) : IClassFixture<Service>
{
    private const int Columns = 3;

    // Six elements of each type as they are written down, and the bits that numpy 1.24 gives them.
    private static readonly (string Type, string Npy, string Datatype, object[] Values, uint[] Bits)[] Types =
    [
        ("F32", "f4", "FP32", [1.5f, -0f, 3.4028235e38f, 1e-45f, 16777216f, -2f], [0x3fc00000, 0x80000000, 0x7f7fffff, 1, 0x4b800000, 0xc0000000]),
        ("F64", "f8", "FP64", [1.5, 0.1, -1e30, 1e-46, 16777216.0, -2.0], [0x3fc00000, 0x3dcccccd, 0xf149f2ca, 0, 0x4b800000, 0xc0000000]),
        ("F16", "f2", "FP16", [(Half)1.5, (Half)65504, (Half)6e-8, (Half)(-0.0), (Half)(-2), (Half)0.1],
            [0x3fc00000, 0x477fe000, 0x33800000, 0x80000000, 0xc0000000, 0x3dccc000]),
        ("I8", "i1", "INT8", [(sbyte)-128, (sbyte)127, (sbyte)-1, (sbyte)0, (sbyte)1, (sbyte)2],
            [0xc3000000, 0x42fe0000, 0xbf800000, 0, 0x3f800000, 0x40000000]),
        ("I16", "i2", "INT16", [(short)-32768, (short)32767, (short)-1, (short)0, (short)1, (short)256],
            [0xc7000000, 0x46fffe00, 0xbf800000, 0, 0x3f800000, 0x43800000]),
        ("I32", "i4", "INT32", [int.MinValue, int.MaxValue, 16777217, -16777219, 123456789, 0],
            [0xcf000000, 0x4f000000, 0x4b800000, 0xcb800002, 0x4ceb79a3, 0]),
        // 2^62 + 2^38 + 1 lies above the middle between two floats, and as a double on it.
        ("I64", "i8", "INT64", [long.MinValue, long.MaxValue, 16777217L, 9007199254740993L, 4611686293305294849L, 0L],
            [0xdf000000, 0x5f000000, 0x4b800000, 0x5a000000, 0x5e800001, 0]),
        ("U8", "u1", "UINT8", [(byte)255, (byte)128, (byte)0, (byte)1, (byte)2, (byte)3], [0x437f0000, 0x43000000, 0, 0x3f800000, 0x40000000, 0x40400000]),
        ("U16", "u2", "UINT16", [ushort.MaxValue, (ushort)0, (ushort)1, (ushort)256, (ushort)255, (ushort)2],
            [0x477fff00, 0, 0x3f800000, 0x43800000, 0x437f0000, 0x40000000]),
        ("U32", "u4", "UINT32", [uint.MaxValue, 16777217u, 0u, 1u, 2147483648u, 65536u], [0x4f800000, 0x4b800000, 0, 0x3f800000, 0x4f000000, 0x47800000]),
        ("U64", "u8", "UINT64", [ulong.MaxValue, 9223372036854775807ul, 9223372586610589696ul, 9223372586610589697ul, 16777217ul, 0ul],
            [0x5f800000, 0x5f000000, 0x5f000000, 0x5f000001, 0x4b800000, 0]),
        ("BOOL", "b1", "BOOL", [false, true, true, false, false, true], [0, 0x3f800000, 0x3f800000, 0, 0, 0x3f800000]),
    ];

    public static TheoryData<string> Names => [.. Types.Select(type => type.Type)];

    private static (string Type, string Npy, string Datatype, object[] Values, uint[] Bits) Of(string name) => Types.Single(type => type.Type == name);

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_tensor_of_any_type_is_read_as_float32_in_every_form(string name)
    {
        var (_, npy, datatype, values, bits) = Of(name);
        var x = new Batch([values.Length / Columns, Columns], [.. bits.Select(BitConverter.UInt32BitsToSingle)]);
        var model = await service.ModelAsync("""{"num_features":3}""");
        var expected = (await model.Session.InferAsync(x)).Expect(200).Tensor("y");
        var (little, big) = (Bytes(values, isBig: false), Bytes(values, isBig: true));

        foreach (var (descr, bytes) in new[] { ($"<{npy}", little), ($">{npy}", big), ($"={npy}", little), ($"|{npy}", little) })
        {
            foreach (var shape in (string[])["(2, 3)", "(2L, 3L)"])
            {
                var file = ArrayFile.Of($"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}", bytes);
                SameAnswer.Same(expected, (await model.Session.PostAsync("inference", Forms.Npy, file)).Expect(200).Array);
                // One byte at a time, so that each element is cut.
                var pieces = new PiecewiseContent(file, Forms.Npy, 1);
                SameAnswer.Same(expected, (await service.Client.SendAsync(HttpMethod.Post, $"{model.Session.Path}/inference", pieces)).Expect(200).Array);
            }
            var fortran = ArrayFile.Of($"{{'descr': '{descr}', 'fortran_order': True, 'shape': (2, 3), }}", Transposed(bytes, values.Length));
            SameAnswer.Same(expected, (await model.Session.PostAsync("inference", Forms.Npy, fortran)).Expect(200).Array);
        }

        var tensors = new TensorFile().Add("x", name, [2, 3], little);
        SameAnswer.Same(expected, (await model.Session.PostAsync("inference", Forms.Safetensors, tensors.ToBytes())).Expect(200).Tensors["y"].Batch);

        var binary = ModelClient.Request(ModelClient.BinaryInput([2, 3], datatype, little.Length), """ "parameters":{"binary_data_output":true},""");
        var answer = InferResult.Of(await model.InferAsync(binary, little));
        Assert.Equal(name is "F32" or "F64" or "F16" ? datatype : "FP32", answer.Datatype);
        if (name != "F16") Assert.Equal(Elements.Bits(expected.Data), Elements.Bits(answer.Singles));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public async Task The_protocols_JSON_has_numbers_and_truth_values(string name)
    {
        var (_, _, datatype, values, bits) = Of(name);
        if (name == "F16") return; // binary only
        var model = await service.ModelAsync("""{"num_features":3}""");
        var x = new Batch([2, 3], [.. bits.Select(BitConverter.UInt32BitsToSingle)]);
        var expected = (await model.Session.InferAsync(x)).Expect(200).Tensor("y");
        FormattableString data = $"[[{values[0]},{values[1]},{values[2]}],[{values[3]},{values[4]},{values[5]}]]";
        var text = FormattableString.Invariant(data).ToLowerInvariant();
        foreach (var members in (string[])[$"\"datatype\":\"{datatype}\",\"data\":{text}", $"\"data\":{text},\"datatype\":\"{datatype}\""])
        {
            var answer = InferResult.Of(await model.InferAsync($$"""{"inputs":[{"name":"x","shape":[2,3],{{members}}}]}"""));
            Assert.Equal((name == "F64" ? "FP64" : "FP32", "[2, 3]"), (answer.Datatype, $"[{string.Join(", ", answer.Shape)}]"));
            Assert.Equal(Elements.Bits(expected.Data), Elements.Bits(answer.Singles));
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public async Task Every_tensor_of_a_call_may_have_any_type(string name)
    {
        // From 0 to 5, or 0 and 1: what every type holds.
        object[] values = [.. Enumerable.Range(0, 6).Select(i => name == "F16" ? (Half)i : Convert.ChangeType(i % 2 + (name == "BOOL" ? 0 : i), Of(name).Values[0].GetType(), null))];
        var tensor = new Batch([2, 3], [.. values.Select(value => value is Half half ? (float)half : Convert.ToSingle(value, null))]);
        var bytes = Bytes(values, isBig: false);
        var (inJson, inFiles) = (await service.CreateAsync("""{"num_features":3}"""), await service.CreateAsync("""{"num_features":3}"""));

        var expected = (await inJson.TrainAsync($$"""{"x":{{tensor.Json}},"residual":{{tensor.Json}}}""")).Expect(200);
        var file = new TensorFile().Add("x", name, [2, 3], bytes).Add("residual", name, [2, 3], bytes);
        SameAnswer.Same(expected.Tensor("y"), (await inFiles.PostAsync("train-step", Forms.Safetensors, file.ToBytes())).Expect(200).Tensors["y"].Batch);

        expected = (await inJson.BackwardAsync($$"""{"x":{{tensor.Json}},"dy":{{tensor.Json}}}""")).Expect(200);
        file = new TensorFile().Add("x", name, [2, 3], bytes).Add("dy", name, [2, 3], bytes);
        SameAnswer.Same(expected.Tensor("dx"), (await inFiles.PostAsync("backward", Forms.Safetensors, file.ToBytes())).Expect(200).Tensors["dx"].Batch);

        var weight = new Batch([3, 2], tensor.Data);
        expected = (await inJson.FoldAsync($$"""{"layer":"linear","weight":{{weight.Json}}}""")).Expect(200);
        file = new TensorFile().Add("weight", name, [3, 2], bytes).Text("layer", "linear");
        SameAnswer.Same(expected.Tensor("weight"), (await inFiles.PostAsync("fold", Forms.Safetensors, file.ToBytes())).Expect(200).Tensors["weight"].Batch);
        Assert.Equal((await inJson.StatsAsync()).Text, (await inFiles.StatsAsync()).Text);

        // Arrays that are no tensors in the contract.
        var row = bytes[..(bytes.Length / 2)];
        expected = (await service.Client.PostAsync("/v1/normalize", $$"""{"kind":"group_norm","num_groups":1,"x":{{tensor.Json}},"gamma":[{{string.Join(',', tensor.Data[..3])}}]}""")).Expect(200);
        file = new TensorFile().Add("x", name, [2, 3], bytes).Add("gamma", name, [3], row).Text("kind", "group_norm").Text("num_groups", "1");
        SameAnswer.Same(expected.Tensor("y"), (await service.Client.PostAsync("/v1/normalize", Forms.Safetensors, file.ToBytes())).Expect(200).Tensors["y"].Batch);
    }

    [Fact]
    public async Task Any_byte_but_0_is_true()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        var expected = (await model.Session.InferAsync("""{"x":[[0,1,1]]}""")).Expect(200).Tensor("y");
        var array = ArrayFile.Of("{'descr': '|b1', 'fortran_order': False, 'shape': (1, 3), }", [0, 2, 255]);
        SameAnswer.Same(expected, (await model.Session.PostAsync("inference", Forms.Npy, array)).Expect(200).Array);
        var tensors = new TensorFile().Add("x", "BOOL", [1, 3], [0, 2, 255]).ToBytes();
        SameAnswer.Same(expected, (await model.Session.PostAsync("inference", Forms.Safetensors, tensors)).Expect(200).Tensors["y"].Batch);
        var mask = new TensorFile().Add("x", "F32", [3, 3], Elements.Of("F32", Batch.Random(1, 3, 3))).Add("mask", "BOOL", [3], [0, 2, 255]).ToBytes();
        Assert.Equal("2", (await model.Session.PostAsync("train-step", Forms.Safetensors, mask)).Expect(200).Tensors.Texts["count"]);
    }

    /// <summary>A large array is answered while it arrives.</summary>
    [Theory]
    [InlineData("i8", "<")]
    [InlineData("i4", ">")]
    [InlineData("f8", ">")]
    [InlineData("u1", "|")]
    [InlineData("f4", ">")]
    public async Task A_large_tensor_of_any_type_is_read_as_float32(string code, string order)
    {
        var x = new Batch([30_000, 3], [.. Enumerable.Range(0, 90_000).Select(i => (float)(i * 7 % 251))]);
        var session = await service.CreateAsync("""{"num_features":3}""");
        var expected = (await session.PostAsync("inference", Forms.Npy, ArrayFile.Of(x))).Expect(200).Array;
        object[] values = [.. x.Data.Select(value => code switch { "i8" => (long)value, "i4" => (int)value, "f8" => (double)value, "u1" => (byte)value, _ => (object)value })];
        var file = ArrayFile.Of($"{{'descr': '{order}{code}', 'fortran_order': False, 'shape': (30000, 3), }}", Bytes(values, order == ">"));
        SameAnswer.Same(expected, (await session.PostAsync("inference", Forms.Npy, file)).Expect(200).Array);
    }

    private static byte[] Bytes(object[] values, bool isBig) => [.. values.SelectMany(value => Bytes(value, isBig))];

    private static byte[] Bytes(object value, bool isBig)
    {
        byte[] bytes = value switch
        {
            float number => BitConverter.GetBytes(number),
            double number => BitConverter.GetBytes(number),
            Half number => BitConverter.GetBytes(number),
            sbyte number => [(byte)number],
            short number => BitConverter.GetBytes(number),
            int number => BitConverter.GetBytes(number),
            long number => BitConverter.GetBytes(number),
            byte number => [number],
            ushort number => BitConverter.GetBytes(number),
            uint number => BitConverter.GetBytes(number),
            ulong number => BitConverter.GetBytes(number),
            _ => BitConverter.GetBytes((bool)value),
        };
        if (isBig) Array.Reverse(bytes);
        return bytes;
    }

    // Elements of [2, 3], the first dimension innermost.
    private static byte[] Transposed(byte[] bytes, int count)
    {
        var elements = bytes.Chunk(bytes.Length / count).ToArray();
        return [.. Enumerable.Range(0, count).SelectMany(i => elements[(i % 2 * Columns) + (i / 2)])];
    }
}
