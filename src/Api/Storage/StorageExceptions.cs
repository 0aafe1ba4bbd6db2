namespace BnService.Api.Storage;

/// <summary>
/// The store cannot do what it was asked to, now: the disk is full, the database is away. Nothing has changed, unless the message says that
/// this is not known.
/// </summary>
/// <param name="message">What is wrong.</param>
/// <param name="cause">The engine's own word for it, or null.</param>
public sealed class StorageUnavailableException(string message, Exception? cause) : Exception(message, cause);

/// <summary>The store cannot be used at all: the start ends with this.</summary>
/// <param name="message">Names the file or the database, and says why.</param>
public sealed class StorageUnusableException(string message) : Exception(message)
{
    /// <summary>Whether that is because another process has it for itself.</summary>
    public bool IsInUse { get; init; }
}

/// <summary>The store holds as much as it may. Nothing has changed.</summary>
/// <param name="message">Names the limit.</param>
public sealed class StorageFullException(string message) : Exception(message);
