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
