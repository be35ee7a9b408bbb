using System.Text.Json;
using Skylight.Text;

namespace Skylight.Tests.Text;

public class PiecesTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Cutting_by_hand_is_cutting_by_the_expression(int seed)
    {
        var random = new Random(seed);
        var regex = new RegexPieces(QwenPieces.Pattern);
        for (int i = 0; i < 2000; i++)
        {
            // .NET's case folding does not know that a long s is an s; see the next test.
            string text = TokenizerFixture.RandomText(random, random.Next(1, 40)).Replace("ſ", "");
            Assert.Equal(regex.Ends(text), Ends(text));
        }
    }

    [Theory]
    [InlineData("it'ſ", "it|'ſ")]
    [InlineData("'ş", "'ş")]
    [InlineData("I'LL've'", "I|'LL|'ve|'")]
    [InlineData("'restore", "'re|store")]
    [InlineData("a  b", "a| | b")]
    [InlineData("a \n \n  b", "a| \n \n| | b")]
    [InlineData("a\n\nb ", "a|\n\n|b| ")]
    [InlineData(" !\n\nx", " !\n\n|x")]
    [InlineData("123", "1|2|3")]
    [InlineData("\tx\u3000y", "\tx|\u3000y")]
    public void Pieces_are_as_Qwen_has_them(string text, string expected) => Assert.Equal(expected, Joined(text));

    [Fact]
    public void Normalization_is_as_Unicode_says()
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllBytes(Golden.PathOf("tokenizer/normalization.json")));
        foreach (JsonElement item in golden.RootElement.EnumerateArray())
        {
            string text = item[0].GetString()!, expected = item[1].GetString()!;
            string? result = CanonicalComposition.Apply(text, compose: true);
            Assert.Equal(expected, result ?? text);
            Assert.Equal(text == expected, result is null);
            Assert.Null(CanonicalComposition.Apply(expected, compose: true));
            Assert.Null(CanonicalComposition.Apply(text, compose: false));
        }
    }

    [Fact]
    public void A_long_run_of_marks_is_put_in_order()
    {
        // Class 230, class 220, by turns.
        string text = "a" + string.Concat(Enumerable.Repeat("\u0308\u0323", 50_000));
        Assert.Equal("ạ" + new string('\u0323', 49_999) + new string('\u0308', 50_000),
            CanonicalComposition.Apply(text, compose: true));
    }

    private static List<int> Ends(string text)
    {
        var ends = new List<int>();
        for (int start = 0; start < text.Length; start = ends[^1])
            ends.Add(QwenPieces.End(text, start));
        return ends;
    }

    private static string Joined(string text)
    {
        int start = 0;
        var pieces = new List<string>();
        foreach (int end in Ends(text))
        {
            pieces.Add(text[start..end]);
            start = end;
        }

        return string.Join('|', pieces);
    }
}
