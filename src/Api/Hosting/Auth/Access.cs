using BnService.Api.Errors;

namespace BnService.Api.Hosting.Auth;

/// <summary>Who may make a call.</summary>
/// <param name="Least">The least role of the caller's key; null where no key is needed.</param>
internal sealed record Access(Role? Least)
{
    /// <summary>What a call is for that says nothing of it: an oversight must not open anything.</summary>
    public static Access Default { get; } = new(Role.Admin);
}

/// <summary>Says in the route tables who may make a call.</summary>
internal static class AccessDescription
{
    /// <summary>The call needs a key of this role or a greater one.</summary>
    public static TBuilder Needs<TBuilder>(this TBuilder route, Role least)
        where TBuilder : IEndpointConventionBuilder =>
        route.WithMetadata(new Access(least), new OpenApi.ProblemMetadata([ProblemCode.Unauthorized, ProblemCode.Forbidden]));

    /// <summary>The call needs no key.</summary>
    public static TBuilder NeedsNoKey<TBuilder>(this TBuilder route)
        where TBuilder : IEndpointConventionBuilder => route.WithMetadata(new Access(Least: null));
}
