using System.Text;
using System.Text.RegularExpressions;
using Skylight.Constraints;
using Skylight.Tensors;

namespace Skylight.Tests.Constraints;

public sealed class RegexConstraintTests
{
    [Theory]
    [InlineData(@"[a-z]+@[a-z]+\.(com|org)", "foo@bar.com", "foo@bar.co", "foo@bar.comx", "@bar.com")]
    [InlineData(@"^\d{3}-\d{2,4}$", "123-4567", "123-4", "123-45678", "12-34")]
    [InlineData("[äöü€😀]+", "ä€😀", "a", "漢")]
    [InlineData("(a?){50}b", "aaab", "aaa")]
    [InlineData("a|", "a", "b")]
    [InlineData(@"\u00e4\x41\u{1F600}[\]\-^]", "äA😀^", "äA😀")]
    [InlineData(@"\ud83d\ude00", "😀", "x")]
    [InlineData(@"a{2}b{1,}c{,2}d{x}", "aabbc{,2}d{x}", "abcd")]
    [InlineData(@"\p{Lu}\P{L}", "Ä1", "ä1", "ÄB")]
    [InlineData("(?:a)(?<n>b)(?P<m>c)a*?", "abcaa", "ab")]
    [InlineData(@"[^\d\s]+", "ab.", "a1", "a b")]
    [InlineData(".", "é", "\n", "")]
    public void A_text_matches_as_a_whole(string pattern, string good, params string[] bad)
    {
        var constraint = Constraint.Regex(pattern);
        Assert.True(FormCheck.Has(constraint, good));
        Assert.All(bad, text => Assert.False(FormCheck.Has(constraint, text), text));
    }

    /// <summary>Random patterns against .NET's, with all texts of up to five letters.</summary>
    [Fact]
    public void Random_patterns_match_what_those_of_the_base_library_do()
    {
        string[] texts = [.. Enumerable.Range(0, 6).SelectMany(Texts)];
        var random = new CounterRandom(0x2E6, 1);
        int matched = 0, patterns = 0;
        for (int index = 0; index < 300; index++)
        {
            string pattern = Pattern(ref random, 3);
            var expected = new Regex($"^(?:{pattern})$(?!\n)", RegexOptions.None, TimeSpan.FromSeconds(5));
            CharacterNfa whole = CharacterNfa.Of(PatternParser.Parse(pattern, "p"), isSearched: false, "p");
            CharacterNfa searched = CharacterNfa.Of(PatternParser.Parse(pattern, "p"), isSearched: true, "p");
            foreach (string text in texts)
            {
                bool isMatch = expected.IsMatch(text);
                Assert.True(whole.Matches(text) == isMatch, $"{pattern} with '{text}'");
                Assert.True(searched.Matches(text) == Regex.IsMatch(text, pattern), $"{pattern} in '{text}'");
                matched += isMatch ? 1 : 0;
            }

            string[] matching = [.. texts.Where(text => expected.IsMatch(text))];
            if (matching.Length == 0)
            {
                Assert.Throws<ConstraintException>(() => Constraint.Regex(pattern));
                continue;
            }

            var constraint = new TokenConstraint(Constraint.Regex(pattern), FormCheck.Small);
            patterns++;
            foreach (string text in matching.Take(20))
                Assert.True(FormCheck.Has(constraint, text, (ulong)index), $"{pattern} with '{text}'");
            for (int walk = 0; walk < 10; walk++)
            {
                // What .NET counts as two characters is one here.
                if (FormCheck.Walk(constraint, ref random, most: 40) is { } bytes
                    && Encoding.UTF8.GetString(bytes) is var text && !text.Any(char.IsSurrogate))
                    Assert.Matches(expected, text);
            }
        }

        Assert.True(matched > 5000 && patterns > 200, $"{matched} texts of {patterns} patterns");
    }

    [Theory]
    [InlineData("(a{1,1000}){1,1000}", "more than 100000 states")]
    [InlineData("a{100001}", "more than 100000 times")]
    [InlineData("a{3,2}", "from 3 to 2 times")]
    [InlineData(@"(a)\1", "refers to a group")]
    [InlineData("(?=a)", "looks ahead")]
    [InlineData("(?<!a)", "looks behind")]
    [InlineData("(?>a)", "atomic")]
    [InlineData("(?i)a", "options")]
    [InlineData(@"a\b", "border of a word")]
    [InlineData("a++", "possessive")]
    [InlineData("a(b", "not closed")]
    [InlineData("a)", "closes nothing")]
    [InlineData("[a", "not closed")]
    [InlineData("[b-a]", "end is before its beginning")]
    [InlineData("[a-z-[b]]", "subtracts")]
    [InlineData("[[:alpha:]]", "named class")]
    [InlineData("*a", "repeats nothing")]
    [InlineData(@"\p{Foo}", "general categories")]
    [InlineData(@"\xZZ", "hexadecimal")]
    [InlineData(@"\ud800", "surrogate")]
    [InlineData(@"\Q", "cannot be held")]
    [InlineData("a\\", "ends in a backslash")]
    [InlineData("a^b", "cannot be satisfied")]
    [InlineData("[^\\s\\S]", "cannot be satisfied")]
    public void What_cannot_be_held_is_refused(string pattern, string expected) => Assert.Contains(expected,
        Assert.Throws<ConstraintException>(() => Constraint.Regex(pattern)).Message, StringComparison.Ordinal);

    [Fact]
    public void Groups_may_not_be_nested_without_end() => Assert.Contains("nested", Assert.Throws<ConstraintException>(
        () => Constraint.Regex(new string('(', 5000) + new string(')', 5000))).Message, StringComparison.Ordinal);

    [Fact]
    public void A_choice_is_one_of_its_texts()
    {
        var choice = Constraint.Choice("yes", "no", "nope", "ä");
        Assert.All((string[])["yes", "no", "nope", "ä"], text => Assert.True(FormCheck.Has(choice, text)));
        Assert.All((string[])["", "y", "nop", "yesno"], text => Assert.False(FormCheck.Has(choice, text)));
        Assert.Throws<ConstraintException>(() => Constraint.Choice());
        Assert.Throws<ConstraintException>(() => Constraint.Choice("a", ""));
        Assert.Throws<ConstraintException>(() => Constraint.Choice("a", "a"));
        Assert.Throws<ConstraintException>(() => Constraint.Choice("\ud800"));
    }

    private static IEnumerable<string> Texts(int length) => length == 0 ? [""]
        : Texts(length - 1).SelectMany(text => "abc".Select(letter => text + letter));

    private static string Pattern(ref CounterRandom random, int depth)
    {
        switch (depth == 0 ? random.Next(4) : random.Next(10))
        {
            case 0:
                return "[ab]";
            case 1:
                return "[^b]";
            case 2:
                return ".";
            case 3:
                return "abc"[random.Next(3)].ToString();
            case 4 or 5:
                return Pattern(ref random, depth - 1) + Pattern(ref random, depth - 1);
            case 6:
                return $"(?:{Pattern(ref random, depth - 1)}|{Pattern(ref random, depth - 1)})";
            case 7:
                return $"(?:{Pattern(ref random, depth - 1)}){"*+?"[random.Next(3)]}";
            case 8:
                return $"(?:{Pattern(ref random, depth - 1)}){{{random.Next(2)},{1 + random.Next(3)}}}";
            default:
                return random.Next(2) == 0 ? $"^{Pattern(ref random, depth - 1)}" : $"{Pattern(ref random, depth - 1)}$";
        }
    }
}
