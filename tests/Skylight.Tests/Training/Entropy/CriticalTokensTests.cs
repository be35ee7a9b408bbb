using Skylight.Text;
using Skylight.Training.Entropy;

namespace Skylight.Tests.Training.Entropy;

public class CriticalTokensTests
{
    private static readonly CharacterTokenizer Characters = new(
        " \nabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,<>/0123456789", "<think>", "</think>");

    private static IReadOnlyList<int> Find(string text, bool startsInsideThink = true) =>
        new CriticalTokens(Characters).Find(Characters.Encode(text, allowSpecial: true), startsInsideThink);

    [Theory]
    [InlineData("Wait", new[] { 0 })]
    [InlineData("so. Wait, no", new[] { 4 })]
    [InlineData("so\nWAIT no", new[] { 3 })]
    [InlineData("hmm. Hmm. HMM.", new[] { 0, 5, 10 })]
    [InlineData("alternatively Alternatively", new[] { 0, 14 })]
    [InlineData("Waiting", new int[0])] // another word
    [InlineData("await wait2", new int[0])]
    [InlineData("wAIT", new int[0])] // no variant that is watched
    [InlineData("Wai", new int[0])] // cut off
    [InlineData("Wow Wait", new[] { 4 })] // the same first token, another word
    public void A_word_is_found_at_its_first_letter(string text, int[] positions) => Assert.Equal(positions, Find(text));

    [Fact]
    public void Only_the_think_block_counts()
    {
        Assert.Equal([0], Find("Wait</think>Wait"));
        Assert.Equal([1], Find("<think>Wait</think>Wait", startsInsideThink: false));
        Assert.Equal([5], Find("Wait<think>Wait", startsInsideThink: false));
        Assert.Empty(Find("Wait, Wait", startsInsideThink: false));
    }

    [Fact]
    public void Marks_that_are_spelled_out_count_too()
    {
        var critical = new CriticalTokens(new CharacterTokenizer(" aitW<>/hnk"));
        var tokenizer = new CharacterTokenizer(" aitW<>/hnk");
        Assert.Equal([7], critical.Find(tokenizer.Encode("<think>Wait</think>Wait"), startsInsideThink: false));
    }

    [Fact]
    public void Whole_word_tokens_are_found_with_and_without_space()
    {
        var tokenizer = new WordTokenizer("Wait", " Wait", " wait", "W", "ait", ",", " ", "ing", "</", "think", ">", "\n\n");
        var critical = new CriticalTokens(tokenizer);

        // Wait| Wait|,| Wait|ing|\n\n|Wait|</|think|>| wait
        int[] tokens = [0, 1, 5, 1, 7, 11, 0, 8, 9, 10, 2];
        Assert.Equal([0, 1, 6], critical.Find(tokens, startsInsideThink: true));
        Assert.Superset(new HashSet<int> { 0, 1, 2 }, critical.FirstTokens.ToHashSet());
        Assert.DoesNotContain(6, critical.FirstTokens); // white space alone is never a critical token
    }

    [Fact]
    public void Entropy_is_that_of_the_first_token_of_the_word()
    {
        Assert.Equal(Skylight.Training.Evaluation.EvaluationReport.EntropyThreshold,
            new CriticalTokens(Characters).Threshold);
        var critical = new CriticalTokens(Characters, threshold: 1.0);
        int[] tokens = Characters.Encode("a Wait b");
        float[] entropies = [0.5f, 9f, 2f, 0f, 0f, 0f, 0.5f, 0f];
        CriticalTokenEntropy measured = critical.Measure(tokens, entropies, startsInsideThink: true);

        Assert.Equal(2.0, measured.MeanCriticalEntropy);
        Assert.Equal(1, measured.CriticalCount);
        Assert.Equal(1.5, measured.MeanEntropy);
        Assert.Equal(0.25, measured.ShareAboveThreshold);
        Assert.Equal(8, measured.TokenCount);
    }

    [Fact]
    public void Adding_measurements_weighs_tokens_not_completions()
    {
        var critical = new CriticalTokens(Characters, threshold: 1.0);
        CriticalTokenEntropy total = default;
        total += critical.Measure(Characters.Encode("Wait Wait"), [1, 0, 0, 0, 0, 2, 0, 0, 0], true);
        total += critical.Measure(Characters.Encode("Wait"), [6, 0, 0, 0], true);
        total += critical.Measure(Characters.Encode("ab"), [4, 0], true);

        Assert.Equal(3.0, total.MeanCriticalEntropy);
        Assert.Equal(3, total.CriticalCount);
        Assert.Equal(13.0 / 15, total.MeanEntropy, 12);
        Assert.Equal(3.0 / 15, total.ShareAboveThreshold, 12); // 2, 6 and 4: 1 is not above 1
    }

    [Theory]
    [InlineData("what? <think>", true)]
    [InlineData("what? <think>hm</think>", false)]
    [InlineData("what? <think>hm</think>no <think>", true)]
    [InlineData("what?", false)]
    [InlineData("", false)]
    [InlineData("[what is <think>?[answer ", false)]
    [InlineData("[what is </think>?[answer <think>", true)]
    public void A_prompt_says_itself_whether_it_ends_inside_a_think_block(string prompt, bool inside)
    {
        // As characters, and with tokens of their own that decode to nothing visible before the next.
        foreach (string[] special in (string[][])[[], ["<think>", "</think>"]])
        {
            var tokenizer = new CharacterTokenizer(" abcdefghijklmnopqrstuvwxyzW<>/?.",
                [.. special, SpecialTokens.TurnStart]);
            int[] tokens = tokenizer.Encode(prompt.Replace("[", SpecialTokens.TurnStart, StringComparison.Ordinal),
                allowSpecial: true);
            Assert.Equal(inside, new CriticalTokens(tokenizer).EndsInsideThink(tokens));
        }
    }

    [Fact]
    public void No_critical_token_has_no_mean()
    {
        CriticalTokenEntropy measured = new CriticalTokens(Characters).Measure(Characters.Encode("ab"), [1, 1], true);
        Assert.Null(measured.MeanCriticalEntropy);
        Assert.True(double.IsNaN(default(CriticalTokenEntropy).MeanEntropy));
    }

    [Fact]
    public void Words_are_the_callers_and_inexpressible_ones_are_left_out()
    {
        var digitsOnly = new CriticalTokens(new CharacterTokenizer("0123456789"));
        Assert.Empty(digitsOnly.FirstTokens);

        var custom = new CriticalTokens(Characters, ["but"]);
        Assert.Equal([0, 4], custom.Find(Characters.Encode("but But Wait"), startsInsideThink: true));
        Assert.Throws<ArgumentException>(() => new CriticalTokens(Characters, [" but"]));
        Assert.Throws<ArgumentException>(() => new CriticalTokens(Characters, [""]));
    }

    [Fact]
    public void One_entropy_is_needed_for_each_token() =>
        Assert.Throws<ArgumentException>(() => new CriticalTokens(Characters).Measure([1, 2], [0f], true));

    // Takes the longest word that fits, as a byte-pair vocabulary does for common words.
    private sealed class WordTokenizer(params string[] words) : ITokenizer
    {
        public int VocabularySize => words.Length;

        public int? TokenId(string specialToken) => null;

        public bool IsSpecial(int token) => false;

        public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false) =>
            string.Concat(tokens.ToArray().Select(token => words[token]));

        public int[] Encode(string text, bool allowSpecial = false) => TryEncode(text) ?? throw new ArgumentException(text);

        public bool CanEncode(string text) => TryEncode(text) is not null;

        private int[]? TryEncode(string text)
        {
            var tokens = new List<int>();
            while (text.Length > 0)
            {
                string? longest = words.Where(word => text.StartsWith(word, StringComparison.Ordinal))
                    .MaxBy(word => word.Length);
                if (longest is null)
                    return null;
                tokens.Add(Array.IndexOf(words, longest));
                text = text[longest.Length..];
            }

            return [.. tokens];
        }
    }
}
