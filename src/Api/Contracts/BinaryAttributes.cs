namespace BnService.Api.Contracts;

/// <summary>
/// The name under which a field of an answer is a tensor of a safetensors file, in the widest type that its numbers need and PyTorch would
/// write; the other name under which a field of a request is one.
/// </summary>
/// <param name="name">The name.</param>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class TensorNameAttribute(string name) : Attribute
{
    /// <summary>The name.</summary>
    public string Name => name;
}

/// <summary>Marks an array that has the shape of a parameter where the form of the answer has shapes.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class ParameterShapeAttribute : Attribute;

/// <summary>An answer with arrays that are parameters, or as long as they are.</summary>
internal interface IShapesParameters
{
    /// <summary>Dimensions of gamma and beta where they have several; null for one, and where only their number is known.</summary>
    IReadOnlyList<int>? ParameterShape { get; }
}

/// <summary>The header in which a field travels where the body is a single array.</summary>
/// <param name="name">The header's name.</param>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class HeaderFieldAttribute(string name) : Attribute
{
    /// <summary>The header's name.</summary>
    public string Name => name;
}
