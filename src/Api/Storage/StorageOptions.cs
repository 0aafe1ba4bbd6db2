using System.ComponentModel.DataAnnotations;

namespace BnService.Api.Storage;

/// <summary>Section <c>Storage</c>: where sessions are kept.</summary>
public sealed record StorageOptions : IValidatableObject
{
    /// <summary>
    /// The engine: <c>sqlite</c> keeps sessions in a file, <c>postgres</c> in a database that several nodes share, <c>memory</c> as long as
    /// the process lives.
    /// </summary>
    [AllowedValues("sqlite", "postgres", "memory", ErrorMessage = "must be sqlite, postgres or memory")]
    public string Engine { get; init; } = "sqlite";

    /// <summary>The file of <c>sqlite</c>.</summary>
    [MinLength(1, ErrorMessage = "must name a file")]
    public string Path { get; init; } = "data/bn.db";

    /// <summary>
    /// The database of <c>postgres</c>. Of several servers (<c>Host=a,b</c>) the one that takes writes is used, also after a failover.
    /// </summary>
    public string? ConnectionString { get; init; }

    /// <summary>
    /// <c>step</c>: what has been answered is on the disk. <c>interval</c>: it is with the operating system, or in the memory of the
    /// database server, which brings it to the disk a moment later: a power cut loses that moment, and so does the end of the database
    /// server's process where that is a crash; the end of this service's process loses nothing.
    /// </summary>
    [AllowedValues("step", "interval", ErrorMessage = "must be step or interval")]
    public string Durability { get; init; } = "step";

    /// <summary>
    /// The longest moment of <c>interval</c>, in milliseconds; with <c>postgres</c> it is three times the server's <c>wal_writer_delay</c>.
    /// </summary>
    [Range(1, 60_000, ErrorMessage = "must be from 1 to 60000 milliseconds")]
    public int IntervalMs { get; init; } = 100;

    /// <summary>How long inference may use a state before it asks whether another node has stored a newer one, in milliseconds.</summary>
    [Range(0, 60_000, ErrorMessage = "must be from 0 to 60000 milliseconds")]
    public int RefreshMs { get; init; } = 1000;

    /// <summary>Whether nodes tell each other of new versions (LISTEN and NOTIFY), where the engine can.</summary>
    public bool Notifications { get; init; } = true;

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Engine == "postgres" && string.IsNullOrWhiteSpace(ConnectionString))
            yield return new ValidationResult("must name the database where Storage:Engine is postgres", [nameof(ConnectionString)]);
    }
}
