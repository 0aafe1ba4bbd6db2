using System.Globalization;
using System.Text;
using BnService.Core;

namespace BnService.Api.Errors;

/// <summary>A request that ends with a problem. Nothing has changed when it is thrown.</summary>
/// <param name="code">Which problem.</param>
/// <param name="detail">Names the field, what came and what is allowed.</param>
public class ProblemException(ProblemCode code, string detail) : Exception(detail)
{
    /// <summary>Which problem.</summary>
    public ProblemCode Code { get; } = code;

    /// <summary>The problem that a layer's refusal is answered with.</summary>
    internal static ProblemCode CodeOf(LayerError error) => error switch
    {
        LayerError.ShapeMismatch => ProblemCode.ShapeMismatch,
        LayerError.InvalidOption => ProblemCode.InvalidOption,
        LayerError.BatchTooSmall => ProblemCode.BatchTooSmall,
        LayerError.NonFiniteInput => ProblemCode.NonFiniteInput,
        LayerError.NoRunningStatistics => ProblemCode.NoRunningStatistics,
        _ => ProblemCode.InternalError,
    };
}

/// <summary>The client no longer reads its answer, which may be noticed before the connection's end is.</summary>
internal sealed class ClientGoneException() : OperationCanceledException("the client no longer reads the answer");

/// <summary>What a client sent, cut short: it is part of every message, and may be of any length.</summary>
internal static class Excerpt
{
    /// <summary>The beginning of a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="longest">How many characters of it are kept.</param>
    public static string Of(string text, int longest = 64)
    {
        if (text.Length <= longest) return text;
        return text[..(char.IsHighSurrogate(text[longest - 1]) ? longest - 1 : longest)] + "…";
    }

    /// <summary>A message whose quotations hold nothing that a terminal or a log would act on, and no half of a character.</summary>
    public static string Printable(string message)
    {
        var isPlain = true;
        foreach (var character in message) isPlain &= character is >= ' ' and < '\u007F' or '…' or '±' or '\'';
        if (isPlain) return message;
        var printable = new StringBuilder(message.Length);
        foreach (var rune in message.EnumerateRunes())
        {
            var isShown = Rune.GetUnicodeCategory(rune) is not (
                UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator
                or UnicodeCategory.ParagraphSeparator or UnicodeCategory.Surrogate or UnicodeCategory.OtherNotAssigned);
            printable.Append(isShown ? rune : Rune.ReplacementChar);
        }
        return printable.ToString();
    }
}
