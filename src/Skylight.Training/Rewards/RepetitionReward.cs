using System.Text;

namespace Skylight.Training.Rewards;

/// <summary>
/// A penalty for n-grams of words that come again: the share of those that are not new, times the greatest penalty (as
/// in open-r1, after arXiv 2502.03373). Case does not count. Chinese and Japanese are written without spaces, so each
/// of their characters is a word.
/// </summary>
internal sealed class RepetitionReward(int size, double maxPenalty) : SampleReward("repetition")
{
    protected override double Score(RewardRequest request)
    {
        int[] words = Words(request.Completion);
        int count = words.Length - size + 1;
        if (count < 1)
            return 0;
        var seen = new HashSet<string>(count, StringComparer.Ordinal);
        var key = new StringBuilder();
        for (int start = 0; start < count; start++)
        {
            key.Clear();
            foreach (int word in words.AsSpan(start, size))
                key.Append((char)(word >> 16)).Append((char)word);
            seen.Add(key.ToString());
        }

        return seen.Count == count ? 0 : maxPenalty * (1 - seen.Count / (double)count);
    }

    /// <summary>A number for each word, the same for the same word.</summary>
    private static int[] Words(string text)
    {
        var numbers = new Dictionary<string, int>(StringComparer.Ordinal);
        var words = new List<int>();
        int start = 0;
        for (int at = 0; at <= text.Length; at++)
        {
            bool isAlone = at < text.Length && IsWrittenWithoutSpaces(text[at]);
            if (at < text.Length && !isAlone && !char.IsWhiteSpace(text[at]))
                continue;
            Add(text[start..at]);
            if (isAlone)
                Add(text[at..(at + 1)]);
            start = at + 1;
        }

        return [.. words];

        void Add(string word)
        {
            if (word.Length == 0)
                return;
            word = word.ToLowerInvariant();
            if (!numbers.TryGetValue(word, out int number))
                numbers[word] = number = numbers.Count;
            words.Add(number);
        }
    }

    // Kana, Han and their extension A; Korean has spaces.
    private static bool IsWrittenWithoutSpaces(char character) =>
        character is (>= '\u3040' and <= '\u30FF') or (>= '\u3400' and <= '\u4DBF') or (>= '\u4E00' and <= '\u9FFF');
}
