using BnService.Api.Errors;

namespace BnService.Api.Hosting.Auth;

/// <summary>What the holder of a key may do. Each role may do what the ones before it may.</summary>
public enum Role
{
    /// <summary>Infers, and reads everything of sessions.</summary>
    Reader,

    /// <summary>Creates, trains, changes and deletes sessions.</summary>
    Trainer,

    /// <summary>Creates, rotates and revokes keys.</summary>
    Admin,
}

/// <summary>The roles by the names that they have on the wire and in the store.</summary>
internal static class Roles
{
    /// <summary>All names.</summary>
    public static string Names { get; } = string.Join(", ", Enum.GetValues<Role>().Select(role => role.WireName));

    extension(Role role)
    {
        /// <summary>The role as it is called on the wire: reader, trainer, admin.</summary>
        public string WireName => role switch
        {
            Role.Reader => "reader",
            Role.Trainer => "trainer",
            _ => "admin",
        };
    }

    /// <summary>The role of a name, in any case; null where it is none that this service knows.</summary>
    public static Role? Parse(string name)
    {
        foreach (var role in Enum.GetValues<Role>())
        {
            if (role.WireName.Equals(name, StringComparison.OrdinalIgnoreCase)) return role;
        }
        return null;
    }
}

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
