using Skylight.Text;

namespace Skylight.Tests.Text;

public class CharacterTokenizerTests
{
    private static readonly CharacterTokenizer Tokenizer = new("ab <>/", "<|im_end|>", "<a>", "<a>b");

    [Fact]
    public void Specials_come_first_and_the_alphabet_follows()
    {
        Assert.Equal(9, Tokenizer.VocabularySize);
        Assert.Equal(0, Tokenizer.TokenId("<|im_end|>"));
        Assert.Null(Tokenizer.TokenId("a"));
        Assert.Equal([3, 5, 4], Tokenizer.Encode("a b"));
    }

    [Fact]
    public void A_special_is_one_token_only_if_allowed_and_the_longest_wins()
    {
        Assert.Equal([1, 3], Tokenizer.Encode("<a>a", allowSpecial: true));
        Assert.Equal([2], Tokenizer.Encode("<a>b", allowSpecial: true));
        Assert.Equal([6, 3, 7, 4], Tokenizer.Encode("<a>b"));
    }

    [Fact]
    public void Decoding_gives_back_the_text()
    {
        const string text = "ab <a>b<|im_end|> <a>/";
        Assert.Equal(text, Tokenizer.Decode(Tokenizer.Encode(text, allowSpecial: true)));
    }

    [Fact]
    public void An_unknown_character_is_named_with_its_place()
    {
        var error = Assert.Throws<ArgumentException>(() => Tokenizer.Encode("ab?"));
        Assert.Contains("'?' (U+003F) at position 2", error.Message);
        Assert.False(Tokenizer.CanEncode("ab?"));
        Assert.True(Tokenizer.CanEncode("ab"));
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(9)]
    public void A_token_outside_the_vocabulary_is_refused(int token) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => Tokenizer.Decode([token]));

    [Fact]
    public void A_vocabulary_cannot_hold_anything_twice()
    {
        Assert.Throws<ArgumentException>(() => new CharacterTokenizer("aba"));
        Assert.Throws<ArgumentException>(() => new CharacterTokenizer("ab", "<x>", "<x>"));
        Assert.Throws<ArgumentException>(() => new CharacterTokenizer("ab", ""));
        Assert.Contains("half of a character", Assert.Throws<ArgumentException>(() => new CharacterTokenizer("🙂")).Message);
    }

    [Fact]
    public void Specials_are_left_out_when_asked()
    {
        Assert.Equal("a b", Tokenizer.Decode([3, 1, 5, 0, 4], skipSpecial: true));
        Assert.Equal([true, true, true, false, false], new[] { 0, 1, 2, 3, -1 }.Select(Tokenizer.IsSpecial));
    }
}
