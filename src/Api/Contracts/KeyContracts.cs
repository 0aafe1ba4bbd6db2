using System.ComponentModel.DataAnnotations;
using BnService.Api.Hosting.Auth;

namespace BnService.Api.Contracts;

/// <summary>A key to create.</summary>
public sealed class CreateKeyRequest
{
    /// <summary>What it is to be called, of the characters of a session's name; several keys may have one name.</summary>
    [Required]
    public string Name { get; set; } = null!;

    /// <summary>What its holder may do; each role may do what the ones before it may.</summary>
    [Required]
    public Role Role { get; set; }

    /// <summary>
    /// Beginning of the names of the sessions that its holder sees, 1 to 96 characters; all where absent. Not for the role admin.
    /// </summary>
    public string? Prefix { get; set; }

    /// <summary>
    /// Must be true for the first key and says nothing for others: with the first key the service begins to ask every call for one, and \
    /// whoever
    /// does not keep this answer is locked out.
    /// </summary>
    public bool? IWillKeepTheKey { get; set; }
}

/// <summary>A key, without its secret.</summary>
public sealed class KeyResource
{
    /// <summary>The part of the key that names it, and is no secret.</summary>
    public required string Id { get; init; }

    /// <summary>What it is called.</summary>
    public required string Name { get; init; }

    /// <summary>What its holder may do; null where that is nothing that this version of the service knows.</summary>
    public required Role? Role { get; init; }

    /// <summary>Beginning of the names of the sessions that its holder sees; null for all.</summary>
    public required string? Prefix { get; init; }

    /// <summary>When it was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>
    /// In a list, number of the sessions that were created with it and are still there, as of some seconds ago; else null.
    /// </summary>
    public long? Sessions { get; init; }

    /// <summary>
    /// In a list, bytes that are stored of them, snapshots and large remembered answers included, as of some seconds ago; else null.
    /// </summary>
    public long? Bytes { get; init; }

    /// <summary>Why nobody gets in by it; null of a key that can be used.</summary>
    public required string? Flaw { get; init; }
}

/// <summary>A key with its secret.</summary>
public sealed class CreatedKey
{
    /// <summary>The part of the key that names it, and is no secret.</summary>
    public required string Id { get; init; }

    /// <summary>What it is called.</summary>
    public required string Name { get; init; }

    /// <summary>What its holder may do.</summary>
    public required Role Role { get; init; }

    /// <summary>Beginning of the names of the sessions that its holder sees; null for all.</summary>
    public required string? Prefix { get; init; }

    /// <summary>When it was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>The key itself. It is shown this once: the service keeps a hash of it.</summary>
    public required string Key { get; init; }

    /// <summary>What has changed by this call, and what to do now, for people.</summary>
    public required string Notice { get; init; }
}

/// <summary>All keys.</summary>
public sealed class KeyList
{
    /// <summary>The keys, oldest first.</summary>
    public required IReadOnlyList<KeyResource> Keys { get; init; }
}
