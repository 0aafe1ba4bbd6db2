namespace BnService.Api.Tests.Architecture;

/// <summary>Which folder may know which: what <see cref="ArrowsTests"/> holds the built assemblies to.</summary>
internal static class Arrows
{
    /// <summary>
    /// Every folder of src/Core and src/Api with those that it may know, the lowest first: a folder stands below all that it knows.
    /// A name with ".*" is a folder with all that are in it.
    /// </summary>
    public static readonly (string Folder, string Known)[] Allowed =
    [
        ("Core.Simd", ""),
        ("Core.Tensors", ""),
        ("Core", "Core.Simd Core.Tensors"),
        ("Core.Kernels", "Core.Simd Core.Tensors Core"),
        ("Core.Statistics", "Core.Tensors Core"),
        ("Core.Normalizers", "Core.Simd Core.Tensors Core Core.Kernels Core.Statistics"),
        ("Core.Layers", "Core.Simd Core.Tensors Core Core.Kernels Core.Statistics Core.Normalizers"),
        ("Api.Errors", "Core"),
        ("Api.Contracts", "Core.Tensors Core Core.Statistics Core.Normalizers Core.Layers Api.Errors"),
        ("Api.Wire", "Core.Tensors Core Core.Normalizers Core.Layers Api.Errors Api.Contracts"),
        ("Api.Wire.Json", "Core.Tensors Core Core.Layers Api.Errors Api.Contracts Api.Wire"),
        ("Api.Wire.Npy", "Core.Tensors Api.Errors Api.Contracts Api.Wire"),
        ("Api.Wire.OpenInference", "Core.Tensors Core.Statistics Api.Errors Api.Wire Api.Wire.Json"),
        ("Api.Wire.Safetensors", "Core.Tensors Api.Errors Api.Contracts Api.Wire Api.Wire.Json"),
        ("Api.Storage", ""),
        ("Api.Storage.Memory", "Api.Storage"),
        ("Api.Storage.Postgres", "Api.Storage"),
        ("Api.Storage.Sqlite", "Api.Storage"),
        ("Api.Hosting.Limits", "Api.Errors Api.Wire"),
        ("Api.Hosting.Connections", "Core.Tensors Api.Hosting.Limits"),
        ("Api.Hosting.Memory", "Core.Tensors Core.Layers Api.Errors Api.Hosting.Limits"),
        ("Api.Hosting.Telemetry", "Core.Tensors Core.Statistics Core.Layers Api.Storage Api.Hosting.Connections"),
        ("Api.Sessions",
            "Core.Simd Core.Tensors Core Core.Statistics Core.Normalizers Core.Layers Api.Errors Api.Wire " +
            "Api.Wire.Safetensors Api.Storage Api.Hosting.Limits Api.Hosting.Memory Api.Hosting.Telemetry"),
        ("Api.Hosting.Commands", ""),
        ("Api.Hosting.Auth",
            "Api.Errors Api.Storage Api.Hosting.Limits Api.Hosting.Connections Api.Sessions " +
            "Api.Hosting.Commands"),
        ("Api.Hosting.Edge", "Api.Errors Api.Storage Api.Hosting.Limits Api.Hosting.Commands Api.Hosting.Auth"),
        ("Api.Hosting.OpenApi", "Core.Tensors Core.Layers Api.Errors Api.Contracts Api.Wire Api.Hosting.Auth"),
        ("Api.Endpoints",
            "Core.Tensors Core Core.Statistics Core.Normalizers Core.Layers Api.Errors Api.Contracts " +
            "Api.Wire Api.Wire.Json Api.Wire.Npy Api.Wire.OpenInference Api.Wire.Safetensors Api.Storage " +
            "Api.Hosting.Limits Api.Hosting.Memory Api.Hosting.Telemetry Api.Sessions Api.Hosting.Auth " +
            "Api.Hosting.OpenApi"),
        ("Api.Hosting",
            "Core.Tensors Core Api.Errors Api.Contracts Api.Wire Api.Storage Api.Storage.Memory " +
            "Api.Storage.Postgres Api.Storage.Sqlite Api.Hosting.Limits Api.Hosting.Connections " +
            "Api.Hosting.Memory Api.Hosting.Telemetry Api.Sessions Api.Hosting.Commands Api.Hosting.Auth " +
            "Api.Hosting.Edge Api.Hosting.OpenApi Api.Endpoints"),
    ];

    /// <summary>Arrows that should not be there: this list only gets shorter, and a test fails if one of them is gone.</summary>
    public static readonly string[] Mistaken =
    [
        "Core.Tensors -> Core",
        "Api.Contracts -> Api.Wire",
        "Api.Contracts -> Api.Wire.Json",
        "Api.Contracts -> Api.Sessions",
        "Api.Contracts -> Api.Hosting.Auth",
        "Api.Wire -> Api.Wire.Json",
        "Api.Wire -> Api.Hosting.Memory",
        "Api.Wire -> Api.Hosting",
        "Api.Wire.Json -> Api.Hosting.Limits",
        "Api.Wire.Json -> Api.Hosting",
        "Api.Hosting.Limits -> Api.Sessions",
        "Api.Hosting.Limits -> Api.Hosting",
        "Api.Hosting.Connections -> Api.Hosting",
        "Api.Hosting.Memory -> Api.Hosting.Telemetry",
        "Api.Hosting.Memory -> Api.Hosting",
        "Api.Hosting.Telemetry -> Api.Sessions",
        "Api.Hosting.Telemetry -> Api.Hosting",
        "Api.Sessions -> Api.Hosting",
        "Api.Hosting.Commands -> Api.Hosting.Auth",
        "Api.Hosting.Commands -> Api.Hosting",
        "Api.Hosting.Auth -> Api.Hosting.Edge",
        "Api.Hosting.Auth -> Api.Hosting.OpenApi",
        "Api.Hosting.Auth -> Api.Endpoints",
        "Api.Hosting.Auth -> Api.Hosting",
        "Api.Hosting.Edge -> Api.Hosting",
        "Api.Hosting.OpenApi -> Api.Endpoints",
        "Api.Hosting.OpenApi -> Api.Hosting",
        "Api.Endpoints -> Api.Hosting",
    ];
}
