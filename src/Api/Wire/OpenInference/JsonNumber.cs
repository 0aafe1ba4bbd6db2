namespace BnService.Api.Wire.OpenInference;

/// <summary>The grammar of JSON's numbers (RFC 8259, 6).</summary>
internal static class JsonNumber
{
    /// <summary>Bytes of the number that a text begins with; 0 where it begins with none.</summary>
    public static int LengthOf(ReadOnlySpan<byte> text)
    {
        var length = text is [(byte)'-', ..] ? 1 : 0;
        var digits = Digits(text[length..]);
        // No zero leads another digit.
        if (digits == 0 || (digits > 1 && text[length] == '0')) return 0;
        length += digits;
        if (length < text.Length && text[length] == '.')
        {
            digits = Digits(text[(length + 1)..]);
            if (digits == 0) return 0;
            length += 1 + digits;
        }
        if (length == text.Length || text[length] is not ((byte)'e' or (byte)'E')) return length;
        length++;
        if (length < text.Length && text[length] is (byte)'+' or (byte)'-') length++;
        digits = Digits(text[length..]);
        return digits == 0 ? 0 : length + digits;
    }

    private static int Digits(ReadOnlySpan<byte> text)
    {
        var count = text.IndexOfAnyExceptInRange((byte)'0', (byte)'9');
        return count < 0 ? text.Length : count;
    }
}
