namespace Skylight.Text;

/// <summary>Finds the name that somebody who wrote an unknown one may have meant.</summary>
public static class NameDistance
{
    private const int MostDistance = 3, LongestName = 40;

    /// <summary>The known name that is nearest to another one.</summary>
    /// <param name="name">The other one.</param>
    /// <param name="known">The known names.</param>
    /// <returns>The nearest that differs in at most 3 characters and at most half of its own; null if there is
    /// none.</returns>
    public static string? Nearest(string name, IEnumerable<string> known)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(known);
        return name.Length > LongestName ? null : known
            .Select(candidate => (Name: candidate, Distance: Between(name, candidate)))
            .Where(candidate => candidate.Distance <= Math.Min(MostDistance, candidate.Name.Length / 2))
            .OrderBy(candidate => candidate.Distance).Select(candidate => candidate.Name).FirstOrDefault();
    }

    /// <summary>How many characters must be put in, left out or changed to make one of the other (Levenshtein).</summary>
    private static int Between(string left, string right)
    {
        int[] above = [.. Enumerable.Range(0, right.Length + 1)];
        for (int row = 1; row <= left.Length; row++)
        {
            int[] line = new int[right.Length + 1];
            line[0] = row;
            for (int column = 1; column <= right.Length; column++)
            {
                int changed = above[column - 1] + (left[row - 1] == right[column - 1] ? 0 : 1);
                line[column] = Math.Min(changed, Math.Min(above[column], line[column - 1]) + 1);
            }

            above = line;
        }

        return above[^1];
    }
}
