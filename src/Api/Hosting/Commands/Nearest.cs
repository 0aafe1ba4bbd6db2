namespace BnService.Api.Hosting.Commands;

/// <summary>The name that somebody probably meant.</summary>
internal static class Nearest
{
    /// <summary>The name with the fewest letters to change, a quarter of it at most and two in any case; null where none is so near.</summary>
    /// <param name="text">What was written.</param>
    /// <param name="names">What there is.</param>
    public static string? Of(string text, IEnumerable<string> names)
    {
        var (near, distance) = names.Select(name => (Name: name, Distance: Distance(text, name)))
            .DefaultIfEmpty((Name: "", Distance: int.MaxValue)).MinBy(found => found.Distance);
        return distance <= Math.Max(2, near.Length / 4) && distance < text.Length ? near : null;
    }

    // Levenshtein's: letters that were changed, left out or added, whether they are capital or not.
    private static int Distance(string a, string b)
    {
        var last = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 0; i < a.Length; i++)
        {
            var next = new int[b.Length + 1];
            next[0] = i + 1;
            for (var j = 0; j < b.Length; j++)
            {
                var changed = last[j] + (char.ToUpperInvariant(a[i]) == char.ToUpperInvariant(b[j]) ? 0 : 1);
                next[j + 1] = Math.Min(changed, Math.Min(last[j + 1], next[j]) + 1);
            }
            last = next;
        }
        return last[^1];
    }
}
