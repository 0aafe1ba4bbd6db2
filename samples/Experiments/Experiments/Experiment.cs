namespace BnService.Experiments.Experiments;

/// <summary>A famous result, and what becomes of it here.</summary>
public interface IExperiment
{
    /// <summary>Its name on the command line and of its files.</summary>
    string Name { get; }

    /// <summary>What it is called in the report.</summary>
    string Title { get; }

    /// <summary>What was claimed, and by whom.</summary>
    string Claim { get; }

    /// <summary>The paper's own figure.</summary>
    string Paper { get; }

    /// <summary>How it is tried here, for somebody who wants to judge it.</summary>
    string Method { get; }

    /// <summary>Runs it.</summary>
    Task<Outcome> RunAsync(Laboratory laboratory);
}

/// <summary>What an experiment has found.</summary>
/// <param name="Ours">Our figure beside the paper's.</param>
/// <param name="Gates">What must hold, and whether it does.</param>
/// <param name="Tables">Tables and remarks in Markdown.</param>
/// <param name="Plot">The plot as SVG.</param>
public sealed record Outcome(string Ours, IReadOnlyList<Gate> Gates, IReadOnlyList<string> Tables, string Plot);

/// <summary>Something that must hold.</summary>
/// <param name="Requirement">What it is.</param>
/// <param name="Seen">The numbers that were seen.</param>
/// <param name="Holds">Whether it holds.</param>
public sealed record Gate(string Requirement, string Seen, bool Holds);
