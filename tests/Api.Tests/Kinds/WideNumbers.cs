using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace BnService.Api.Tests.Kinds;

/// <summary>Numbers with more digits than float32 has, in every form of body, and what is answered to them.</summary>
internal static class WideNumbers
{
    // Seconds since 1970, one apart: mean 1700000001.5, variance 1.25.
    public static readonly double[] Seconds = [1.7e9, 1700000001, 1700000002, 1700000003];

    public static string[] AllForms =>
    [
        "json", "nested", "npy <f8", "npy >f8", "npy <i8", "npy >i8", "npy <u8", "npy <i4", "npy <u4", "fortran <f8", "fortran >f8", "fortran <i8", "fortran >u8", "fortran <i4",
        "safetensors F64", "safetensors I64", "safetensors U64", "safetensors I32",
    ];

    /// <summary>Sends a column of numbers in a form; beside dy an x, and beside x a dy where the call takes one back.</summary>
    public static async Task<Answer> SendAsync(this Service service, SessionClient session, string call, string field, double[] values, string form)
    {
        var texts = string.Join(',', values.Select(value => value.ToString("R", CultureInfo.InvariantCulture).Replace("E+", "e", StringComparison.Ordinal)));
        var beside = field == "dy" ? "x" : call.Contains("backward", StringComparison.Ordinal) ? "dy" : null;
        var other = beside is null ? "" : $",\"{beside}\":[{string.Join(',', values.Select((_, i) => $"[{i}]"))}]";
        var (kind, type) = form.Split(' ') is [var first, var second] ? (first, second) : (form, "F64");
        switch (kind)
        {
            case "json": return await service.Client.PostAsync($"{session.Path}/{call}", $$"""{"{{field}}":{"shape":[{{values.Length}},1],"data":[{{texts}}]}{{other}}}""");
            case "nested": return await service.Client.PostAsync($"{session.Path}/{call}", $$"""{"{{field}}":[[{{texts.Replace(",", "],[", StringComparison.Ordinal)}}]]{{other}}}""");
            case "safetensors":
                var file = new TensorFile().Add(field, type, [values.Length, 1], Bytes(values, type));
                if (beside is not null) file = file.Add(beside, "F64", [values.Length, 1], Bytes([.. Enumerable.Range(0, values.Length).Select(i => (double)i)]));
                return await session.PostAsync(call, Forms.Safetensors, file.ToBytes());
            default:
                var order = kind == "fortran" ? "True" : "False";
                return await session.PostAsync(call, Forms.Npy, ArrayFile.Of(
                    $"{{'descr': '{type}', 'fortran_order': {order}, 'shape': ({values.Length}, 1), }}", Bytes(values, type)));
        }
    }

    public static byte[] Bytes(double[] values) => MemoryMarshal.AsBytes<double>(values).ToArray();

    public static byte[] Bytes(double[] values, string type)
    {
        var bytes = type.TrimStart('<', '>') switch
        {
            "f8" or "F64" or "FP64" => Bytes(values),
            "i8" or "I64" or "INT64" => MemoryMarshal.AsBytes<long>(Array.ConvertAll(values, value => (long)value)).ToArray(),
            "u8" or "U64" or "UINT64" => MemoryMarshal.AsBytes<ulong>(Array.ConvertAll(values, value => (ulong)value)).ToArray(),
            "i4" or "I32" or "INT32" => MemoryMarshal.AsBytes<int>(Array.ConvertAll(values, value => (int)value)).ToArray(),
            _ => MemoryMarshal.AsBytes<uint>(Array.ConvertAll(values, value => (uint)value)).ToArray(),
        };
        if (type[0] != '>') return bytes;
        foreach (var element in Enumerable.Range(0, values.Length)) bytes.AsSpan(element * (bytes.Length / values.Length), bytes.Length / values.Length).Reverse();
        return bytes;
    }

    public static string[] Warnings(Answer answer) => answer.ContentType switch
    {
        Forms.Json => [.. answer["warnings"].EnumerateArray().Select(warning => warning.GetProperty("code").GetString()!)],
        Forms.Npy => answer.Headers.GetValueOrDefault("Bn-Warnings", "").Split(", "),
        _ => [answer.Tensors.Texts["warnings"].Contains("precision-lost", StringComparison.Ordinal) ? "precision-lost" : "none",
            answer.Tensors.Texts["warnings"].Contains("constant-channels", StringComparison.Ordinal) ? "constant-channels" : "none"],
    };

    public static double[] Doubles(Answer answer, string field) => answer.ContentType switch
    {
        Forms.Json => [.. answer[field].GetProperty("data").EnumerateArray().Select(Answer.Number)],
        Forms.Npy => NpyDoubles(answer),
        _ => answer.Tensors[field].Type == "F64" ? answer.Tensors[field].Values : throw new InvalidOperationException("expected F64"),
    };

    public static double[] NpyDoubles(Answer answer)
    {
        Assert.Contains("'<f8'", Encoding.ASCII.GetString(answer.Body, 0, 64), StringComparison.Ordinal);
        return MemoryMarshal.Cast<byte, double>(answer.Body.AsSpan(10 + BinaryPrimitives.ReadUInt16LittleEndian(answer.Body.AsSpan(8)))).ToArray();
    }

    public static void AssertNear(double[] expected, double[] actual, double tolerance = 1e-15)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], tolerance * Math.Max(1, Math.Abs(expected[i])));
    }
}
