using Skylight.Models;

namespace Skylight.Tests.Models;

public sealed class PackedBatchTests
{
    private const int Image = TinyModel.ImageToken;

    [Fact]
    public void Sequences_lie_end_to_end_and_a_shared_picture_is_there_once()
    {
        ImageTile shared = TinyModel.Picture(1), other = TinyModel.Picture(2);
        var batch = PackedBatch.Pack(
            [
                new TokenSequence([7, Image, Image, Image, Image, 8], [shared]),
                new TokenSequence([5, 6]),
                new TokenSequence([.. Enumerable.Repeat(Image, 8), 9], [other, shared]),
            ],
            TinyModel.Configuration, tokenMultiple: 8);
        Assert.Equal(new PackedShape(24, 3, 2, 28, 28), batch.Shape);
        Assert.Equal([0, 6, 8, 17], batch.Starts);
        Assert.Equal([7, Image, Image, Image, Image, 8, 5, 6, Image, Image, Image, Image, Image, Image, Image, Image, 9,
            0, 0, 0, 0, 0, 0, 0], batch.Tokens);
        Assert.Equal([0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0], batch.Positions);
        Assert.Equal([-1, 0, 1, 2, 3, -1, -1, -1, 4, 5, 6, 7, 0, 1, 2, 3, -1, -1, -1, -1, -1, -1, -1, -1],
            batch.FeatureIndex);
        Assert.Equal([.. shared.Pixels, .. other.Pixels], batch.Pixels);
    }

    [Fact]
    public void An_image_token_that_the_model_wrote_is_text()
    {
        var sequence = new TokenSequence([Image, Image, Image, Image, 8, Image], [TinyModel.Picture(1)]) { TextFrom = 5 };
        Assert.Equal([0, 1, 2, 3, -1, -1], PackedBatch.Pack([sequence], TinyModel.Configuration).FeatureIndex);
        Assert.Equal([-1, -1], PackedBatch.Pack([new TokenSequence([Image, 3])], TinyModel.Configuration).FeatureIndex);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(5)]
    [InlineData(0)]
    public void Image_places_must_be_as_many_as_features(int places)
    {
        var sequence = new TokenSequence([.. Enumerable.Repeat(Image, places), 8], [TinyModel.Picture(1)]);
        string message = Assert.Throws<ArgumentException>(
            () => PackedBatch.Pack([new TokenSequence([1]), sequence], TinyModel.Configuration)).Message;
        Assert.Contains($"Sequence 1 has {places} image places (token 39), but its 1 pictures need 4", message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(40)]
    [InlineData(-1)]
    public void Tokens_must_be_in_the_vocabulary(int token)
    {
        string message = Assert.Throws<ArgumentException>(
            () => PackedBatch.Pack([new TokenSequence([1, 2, token])], TinyModel.Configuration)).Message;
        Assert.Contains($"Sequence 0: token {token} at position 2 is outside the vocabulary of 40", message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Pictures_must_be_of_one_size_which_patches_divide()
    {
        TokenSequence small = TinyModel.Prompt(1, 6, TinyModel.Picture(1)),
            wide = TinyModel.Prompt(1, 12, TinyModel.Picture(1, 28, 56));
        Assert.Contains("28×28 and 28×56",
            Assert.Throws<ArgumentException>(() => PackedBatch.Pack([small, wide], TinyModel.Configuration)).Message,
            StringComparison.Ordinal);
        TokenSequence odd = TinyModel.Prompt(1, 6, TinyModel.Picture(1, 28, 21));
        Assert.Contains("28×21",
            Assert.Throws<ArgumentException>(() => PackedBatch.Pack([odd], TinyModel.Configuration)).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new ImageTile(new float[10], 3, 3));
    }
}
