using Skylight.Generation;

namespace Skylight.Tests.Generation;

/// <summary>Tokens that are guessed from what was read and written.</summary>
public sealed class PromptLookupTests
{
    [Theory]
    // What followed the last two tokens, the latest time that they stood there.
    [InlineData(new[] { 1, 2, 3, 9, 1, 2, 4, 5, 6, 1, 2 }, 3, new[] { 4, 5, 6 })]
    // More tokens that agree go before later ones.
    [InlineData(new[] { 7, 1, 2, 3, 9, 1, 2, 4, 5, 7, 1, 2 }, 1, new[] { 3 })]
    // What is known is repeated, where its end is reached.
    [InlineData(new[] { 5, 1, 2, 3, 1, 2 }, 4, new[] { 3, 1, 2, 3 })]
    [InlineData(new[] { 5, 8, 8, 8 }, 4, new[] { 8, 8, 8, 8 })]
    // One token that agrees is not enough.
    [InlineData(new[] { 1, 2, 3, 4, 1 }, 4, new int[0])]
    [InlineData(new[] { 1 }, 4, new int[0])]
    // No guess has a picture in it, and none begins behind one.
    [InlineData(new[] { 1, 2, 3, PromptLookup.Gap, 1, 2 }, 4, new[] { 3 })]
    [InlineData(new[] { 1, PromptLookup.Gap, 3, 4, 1, PromptLookup.Gap }, 4, new int[0])]
    [InlineData(new[] { 1, 2, 3, 1, 2 }, 0, new int[0])]
    public void The_guess_is_what_followed_before(int[] history, int most, int[] expected)
    {
        var guess = new List<int>();
        new PromptLookup(history, 15).Guess(most, guess);
        Assert.Equal(expected, guess);
    }

    [Fact]
    public void Guesses_grow_while_they_come_true_and_pause_where_they_do_not()
    {
        var lookup = new PromptLookup(Enumerable.Repeat(3, 20), 15);
        Assert.Equal(4, Count());
        lookup.Learn(4, 4);
        Assert.Equal(8, Count());
        lookup.Learn(8, 8);
        Assert.Equal(15, Count());
        lookup.Learn(15, 2);
        Assert.Equal(3, Count());
        // Nothing was guessed: nothing is learnt.
        lookup.Learn(0, 0);
        Assert.Equal(3, Count());
        int[] pauses = new int[7];
        for (int miss = 0; miss < pauses.Length; miss++)
        {
            lookup.Learn(3, 0);
            for (; Count() == 0; pauses[miss]++)
                lookup.Append(3);
        }

        Assert.Equal([1, 3, 7, 15, 31, 31, 31], pauses);
        Assert.Equal(1, Count());
        lookup.Learn(1, 1);
        Assert.Equal(2, Count());
        lookup.Learn(1, 0);
        lookup.Append(3);
        Assert.True(Count() > 0);

        int Count()
        {
            var guess = new List<int>();
            lookup.Guess(15, guess);
            return guess.Count;
        }
    }

    [Fact]
    public void No_more_is_guessed_than_was_asked_for()
    {
        var guess = new List<int>();
        new PromptLookup(Enumerable.Repeat(3, 20), 2).Guess(15, guess);
        Assert.Equal(2, guess.Count);
    }
}
