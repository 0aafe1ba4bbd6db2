using System.Runtime.InteropServices;
using BnService.Bench.Cases;
using BnService.Bench.Contenders;
using BnService.Bench.Timing;

namespace BnService.Bench.Http;

/// <summary>simdjson reading the same body, without any HTTP (Native/simdjson.cpp): what reading costs at its best.</summary>
internal static unsafe partial class SimdJsonReading
{
    private const string Library = PeerFiles.SimdJsonLibrary;

    /// <summary>The contender in a row; null where it reads something else than x.</summary>
    public static Contender? Of(Payload payload, CaseData data)
    {
        var (count, values) = (data.Case.Count, new FloatMemory(data.Case.Count));
        nint body;
        fixed (byte* json = payload.Bytes) body = Load(json, (nuint)payload.Length);
        var isRight = Read(body, values.Pointer, count) == count
            && new ReadOnlySpan<float>(values.Pointer, count).SequenceEqual(new ReadOnlySpan<float>(data.X(0), count));
        var reading = new Reading(body, values, count);
        if (isRight) return reading;
        reading.Dispose();
        return null;
    }

    [LibraryImport(Library, EntryPoint = "bench_simdjson_load")]
    private static partial nint Load(byte* json, nuint length);

    [LibraryImport(Library, EntryPoint = "bench_simdjson_read")]
    private static partial nint Read(nint body, float* values, nint capacity);

    [LibraryImport(Library, EntryPoint = "bench_simdjson_free")]
    private static partial void Free(nint body);

    private sealed class Reading(nint body, FloatMemory values, int count)
        : Call(HttpNames.SimdJson, 1, _ => Read(body, values.Pointer, count)), IDisposable
    {
        public void Dispose()
        {
            Free(body);
            values.Dispose();
        }
    }
}
