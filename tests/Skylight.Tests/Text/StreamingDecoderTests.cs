using System.Text;
using Skylight.Text;

namespace Skylight.Tests.Text;

public class StreamingDecoderTests
{
    private static BytePairTokenizer Real => TokenizerFixture.Real;

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public void Pieces_together_are_the_text_and_none_ends_within_a_character(int seed, bool skipSpecial)
    {
        var random = new Random(seed);
        for (int i = 0; i < 300; i++)
        {
            // Tokens of text, and any tokens at all: those are bytes that are often not UTF-8.
            int[] tokens = i % 2 == 0
                ? Real.Encode(TokenizerFixture.RandomText(random, 30), allowSpecial: true)
                : [.. Enumerable.Range(0, 40)
                    .Select(_ => random.Next(4) == 0 ? random.Next(256) : random.Next(Real.VocabularySize))];
            var decoder = new StreamingDecoder(Real, skipSpecial);
            var text = new StringBuilder();
            foreach (int token in tokens)
            {
                string piece = decoder.Append(token);
                Assert.False(piece.Length > 0 && (char.IsHighSurrogate(piece[^1]) || char.IsLowSurrogate(piece[0])));
                text.Append(piece);
            }

            Assert.Equal(Real.Decode(tokens, skipSpecial), text.Append(decoder.Flush()).ToString());
        }
    }

    [Fact]
    public void A_character_comes_when_its_last_byte_does()
    {
        int[] bytes = [.. Encoding.UTF8.GetBytes("é🙂")
            .Select(value => Enumerable.Range(0, 256).Single(id => Real.TokenBytes(id).SequenceEqual([value])))];
        var decoder = new StreamingDecoder(Real);
        Assert.Equal(["", "é", "", "", "", "🙂"], bytes.Select(token => decoder.Append(token)));
        Assert.Equal("", decoder.Flush());
    }

    [Fact]
    public void What_was_begun_and_not_finished_is_a_replacement_character()
    {
        int[] tokens = Real.Encode("🙂");
        int part = Enumerable.Range(0, 256).Single(id => Real.TokenBytes(id).SequenceEqual([(byte)0xF0]));
        var decoder = new StreamingDecoder(Real);
        Assert.Equal("", decoder.Append(part));
        Assert.Equal("\uFFFD", decoder.Flush());
        Assert.Equal("🙂", decoder.Append(tokens));
        Assert.Equal("", decoder.Append(part));
        Assert.Equal("\uFFFDa", decoder.Append(Real.Encode("a")));
    }

    [Fact]
    public void A_skipped_token_does_not_part_a_character()
    {
        int[] bytes = [.. Encoding.UTF8.GetBytes("é")
            .Select(value => Enumerable.Range(0, 256).Single(id => Real.TokenBytes(id).SequenceEqual([value])))];
        int end = Real.TokenId("<|im_end|>")!.Value;
        Assert.Equal("é", new StreamingDecoder(Real, skipSpecial: true).Append([bytes[0], end, bytes[1]]));
        Assert.Equal("\uFFFD<|im_end|>\uFFFD", Real.Decode([bytes[0], end, bytes[1]]));
    }

    [Fact]
    public void A_token_outside_the_vocabulary_changes_nothing()
    {
        var decoder = new StreamingDecoder(Real);
        Assert.Throws<ArgumentOutOfRangeException>(() => decoder.Append(151674));
        Assert.Equal("a", decoder.Append(Real.Encode("a")));
    }

    [Fact]
    public void Any_tokenizer_will_do()
    {
        var characters = new CharacterTokenizer("añ你", "<end>");
        var decoder = new StreamingDecoder(characters, skipSpecial: true);
        Assert.Equal("你ñ", decoder.Append(characters.Encode("你<end>ñ", allowSpecial: true)));
        Assert.Equal("你ñ", characters.Decode(characters.Encode("你<end>ñ", allowSpecial: true), skipSpecial: true));
    }
}
