using System.Globalization;
using System.Text;
using Skylight.Text;

namespace Skylight.Tests.Text;

/// <summary>
/// Ids beside those of Hugging Face's own tokenizers. Skipped where that package has no native library.
/// <c>SKYLIGHT_PEER_TEXTS</c> sets the number of random texts for a longer run.
/// </summary>
public sealed class HuggingFaceTokenizerTests
{
    private const string TextsVariable = "SKYLIGHT_PEER_TEXTS";
    private const int CodePointsPerText = 256;

    [Fact]
    public void Every_code_point_among_marks_has_the_same_ids() => WithBoth((ours, theirs) =>
    {
        var text = new StringBuilder();
        // The peer takes text up to its first U+0000, so that one is left out.
        for (int first = 1; first < 0x110000; first += CodePointsPerText)
        {
            text.Clear();
            for (int value = first; value < Math.Min(first + CodePointsPerText, 0x110000); value++)
            {
                // Alone behind a starter, then after a mark of class 230 and before one of class 220: any class shows in the order.
                if (Rune.IsValid(value))
                    text.Append('x').Append(new Rune(value)).Append("xe\u0301").Append(new Rune(value)).Append('\u0323');
            }

            AssertEqual(ours, theirs, text.ToString());
        }
    });

    [Fact]
    public void Marks_that_Unicode_assigned_later_stay_where_they_are() => WithBoth((ours, theirs) =>
    {
        foreach (string mark in (string[])["\u0C3C", "\u0EBA", "\u1715", "\u09FE", "\u0D3B", "\u1DF6", "\U00011935\U00011930"])
        {
            string text = $"a\u0301{mark}\u0323";
            AssertEqual(ours, theirs, text);
            Assert.Equal($"á{mark}\u0323", ours.Decode(ours.Encode(text)));
        }
    });

    [Fact]
    public void Random_texts_have_the_same_ids() => WithBoth((ours, theirs) =>
    {
        int texts = Environment.GetEnvironmentVariable(TextsVariable) is { } value ? int.Parse(value, CultureInfo.InvariantCulture) : 5_000;
        for (int seed = 0; seed < texts; seed++)
        {
            var random = new Random(seed);
            AssertEqual(ours, theirs, TokenizerFixture.RandomText(random, random.Next(1, 40)).Replace("\0", "", StringComparison.Ordinal));
        }
    });

    private static void AssertEqual(BytePairTokenizer ours, Tokenizers.DotNet.Tokenizer theirs, string text)
    {
        int[] expected = [.. theirs.Encode(text).Select(id => (int)id)];
        int[] actual = ours.Encode(text, allowSpecial: true);
        if (!expected.AsSpan().SequenceEqual(actual))
            Assert.Fail($"{string.Join(' ', text.EnumerateRunes().Select(rune => $"{rune.Value:X4}"))}: "
                + $"expected {string.Join(' ', expected)}, found {string.Join(' ', actual)}");
    }

    private static void WithBoth(Action<BytePairTokenizer, Tokenizers.DotNet.Tokenizer> use)
    {
        try
        {
            using var theirs = new Tokenizers.DotNet.Tokenizer(vocabPath: TokenizerFixture.RealPath);
            use(TokenizerFixture.Real, theirs);
        }
        catch (Exception exception) when (exception is DllNotFoundException or BadImageFormatException)
        {
            Assert.Skip($"Hugging Face's tokenizers have no native library for this platform: {exception.Message}");
        }
    }
}
