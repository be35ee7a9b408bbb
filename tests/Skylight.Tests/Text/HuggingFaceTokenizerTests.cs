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
                // Alone behind a starter, then after a mark of class 230 and before one of class 220: any class shows
                // in the order.
                if (Rune.IsValid(value))
                    text.Append('x').Append(new Rune(value)).Append("xe\u0301").Append(new Rune(value)).Append('\u0323');
            }

            AssertEqual(ours, theirs, text.ToString());
        }
    });

    [Fact]
    public void Marks_that_Unicode_assigned_later_stay_where_they_are() => WithBoth((ours, theirs) =>
    {
        foreach (string mark in (string[])["\u0C3C", "\u0EBA", "\u1715", "\u09FE", "\u0D3B", "\u1DF6",
            "\U00011935\U00011930"])
        {
            string text = $"a\u0301{mark}\u0323";
            AssertEqual(ours, theirs, text);
            Assert.Equal($"á{mark}\u0323", ours.Decode(ours.Encode(text)));
        }
    });

    [Fact]
    public void Random_texts_have_the_same_ids() => WithBoth((ours, theirs) =>
    {
        int texts = Environment.GetEnvironmentVariable(TextsVariable) is { } value
            ? int.Parse(value, CultureInfo.InvariantCulture) : 5_000;
        for (int seed = 0; seed < texts; seed++)
        {
            var random = new Random(seed);
            AssertEqual(ours, theirs,
                TokenizerFixture.RandomText(random, random.Next(1, 40)).Replace("\0", "", StringComparison.Ordinal));
        }
    });

    [Fact]
    public void The_tokenizer_of_the_demo_has_the_same_ids_and_decodings()
    {
        using var folder = new TemporaryFolder();
        foreach ((string name, string text) in DemoTokenizer.Files())
            folder.Write(name, text);
        WithBoth(folder["tokenizer.json"], BytePairTokenizer.Load(folder.Path), (ours, theirs) =>
        {
            string[] texts =
            [
                "<|im_start|>system\nassistants use the " +
                "user<|im_end|>\n<|im_start|>user\n<img><IMG_CONTEXT><IMG_CONTEXT></img>\nlarger?<|im_end|>\n<|im_start|>assistant\n",
                "<think>\n7 and 3. Wait, 7 and 5. 7+5=12</think>\\boxed{12}<|im_end|>",
                "Waiting sands, differ: digits smallers sum", "\\boxed \\box\\boxed{\\boxed}", "  Wait  and\n\n and",
                .. Enumerable.Range(0, 2000).Select(seed => RandomText(new Random(seed))),
            ];
            foreach (string text in texts)
            {
                AssertEqual(ours, theirs, text);
                int[] ids = ours.Encode(text, allowSpecial: true);
                Assert.Equal(theirs.Decode([.. ids.Select(id => (uint)id)]), ours.Decode(ids, skipSpecial: true));
            }
        });

        // Half of it of pieces of the demo's own texts, where the merges are.
        static string RandomText(Random random) => random.Next(2) == 0
            ? TokenizerFixture.RandomText(random, random.Next(1, 40)).Replace("\0", "", StringComparison.Ordinal)
            : string.Concat(Enumerable.Range(0, random.Next(1, 20)).Select(_ => s_pieces[random.Next(s_pieces.Length)]));
    }

    private static readonly string[] s_pieces =
    [
        "as", "sist", "ant", "us", "er", "user", "sy", "stem", "\\", "box", "ed", "boxed", "{", "}", "di", "git", "ff",
        "s", "su", "m", "la", "rg", "sm", "all", "an", "d", "and", "Wa", "it", "Wait", " ", " and",
        " Wait", "\n", "<think>", "</think>", "<|im_end|>", "<img>", "<video>", "7", "12", "?", ". ", "=", "<", "é",
        "數", "🙂",
    ];

    private static void AssertEqual(BytePairTokenizer ours, Tokenizers.DotNet.Tokenizer theirs, string text)
    {
        int[] expected = [.. theirs.Encode(text).Select(id => (int)id)];
        int[] actual = ours.Encode(text, allowSpecial: true);
        if (!expected.AsSpan().SequenceEqual(actual))
            Assert.Fail($"{string.Join(' ', text.EnumerateRunes().Select(rune => $"{rune.Value:X4}"))}: "
                + $"expected {string.Join(' ', expected)}, found {string.Join(' ', actual)}");
    }

    private static void WithBoth(Action<BytePairTokenizer, Tokenizers.DotNet.Tokenizer> use) =>
        WithBoth(TokenizerFixture.RealPath, TokenizerFixture.Real, use);

    private static void WithBoth(string file, BytePairTokenizer ours,
        Action<BytePairTokenizer, Tokenizers.DotNet.Tokenizer> use)
    {
        try
        {
            using var theirs = new Tokenizers.DotNet.Tokenizer(vocabPath: file);
            use(ours, theirs);
        }
        catch (Exception exception) when (exception is DllNotFoundException or BadImageFormatException)
        {
            Assert.Skip($"Hugging Face's tokenizers have no native library for this platform: {exception.Message}");
        }
    }
}
