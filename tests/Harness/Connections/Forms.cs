namespace BnService.Harness;

/// <summary>The media types of bodies.</summary>
public static class Forms
{
    public const string Json = "application/json";

    public const string Safetensors = "application/x-safetensors";

    public const string Npy = "application/x-npy";

    /// <summary>Every form, in the order in which refusals list them.</summary>
    public static IReadOnlyList<string> All { get; } = [Json, Safetensors, Npy];
}
