using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>The convention that a session's options were sent in.</summary>
public sealed class ConventionReport
{
    /// <summary>Whose convention it is.</summary>
    public required Framework Name { get; init; }

    /// <summary>The options that it set or gave another value.</summary>
    public required IReadOnlyList<ConversionReport> Converted { get; init; }
}

/// <summary>An option that a convention has set or given another value.</summary>
public sealed class ConversionReport
{
    /// <summary>Name of the option.</summary>
    public required string Option { get; init; }

    /// <summary>What was sent, a number or true or false; null where it was not sent and the convention's default holds.</summary>
    public required object? Sent { get; init; }

    /// <summary>What the session had then, in this service's terms.</summary>
    public required object? Stored { get; init; }

    /// <summary>Why they differ.</summary>
    public required string Detail { get; init; }
}

/// <summary>Conventions in the core's terms and back.</summary>
internal static class ConventionMapping
{
    /// <summary>The convention that options are meant in, and what was sent of those that it is about; null where none was named.</summary>
    public static AppliedConvention? MeantIn(this LayerOptionsRequest request, Framework? framework) => framework is not { } named ? null : new()
    {
        Framework = named,
        IsOverBatch = request.Kind.IsOverBatch,
        CanTrack = request.Kind.CanTrack,
        Kind = request.Kind,
        SendsMomentum = request.SendsMomentum,
        Momentum = request.Momentum,
        Eps = request.Eps,
        UnbiasedRunningVar = request.UnbiasedRunningVar,
        ChannelAxis = request.ChannelAxis,
        Affine = request.Affine ?? (request.Bias == true || request.Scale == true ? true : null),
        ZeroDebias = request.ZeroDebias,
        IsDouble = request.Precision == Precision.Float64,
    };

    /// <summary>What a convention has done, for the session's resource.</summary>
    public static ConventionReport ToReport(this AppliedConvention convention) => new()
    {
        Name = convention.Framework,
        Converted = [.. convention.Converted().Select(option =>
            new ConversionReport { Option = option.Option, Sent = option.Sent, Stored = option.Stored, Detail = option.Detail })],
    };
}
