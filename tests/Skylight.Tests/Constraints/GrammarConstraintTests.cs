using System.Text;
using Skylight.Constraints;
using Skylight.Tensors;

namespace Skylight.Tests.Constraints;

public sealed class GrammarConstraintTests
{
    private const string Arithmetic = """
        root ::= sum   # a comment
        sum  ::= product ([-+] product)*
        product ::= factor (
            "*" factor |    # nested, so it may go on in the next line
            "/" factor
        )*
        factor ::= [0-9]+ | "(" sum ")"
        """;

    [Theory]
    [InlineData(Arithmetic, "(1+2)*3", "(1+2", "1+", "")]
    [InlineData("root ::= a | \"x\" root\n  | \"y\"{2,3}\na ::= \"\"", "xxyyy", "xxy", "z")]
    [InlineData("root ::= item (\", \" item)*\nitem ::= [^,\\n]+ ws\nws ::= \" \"?", "ab, cd, é", ",", "a,")]
    [InlineData("root ::= \"\\x41\\u00e4\\U0001F600\\\"\\\\\\n\"", "Aä😀\"\\\n", "A")]
    [InlineData("root ::= [\\]\\[^a-c-]{2}", "]^", "d]", "]")]
    [InlineData("root ::= .{2,} | b\nb ::= \"(\" b \")\" | \"\"", "äö", "x")]
    [InlineData("root ::= [a-z] {1,2} tail?\r\ntail ::= [0-9]{,2}\r\n", "ab12", "abc", "a123")]
    [InlineData("long-name_1 ::= \"a\"\nroot ::= long-name_1+", "aa", "b")]
    public void A_grammar_is_followed(string grammar, string good, params string[] bad)
    {
        var constraint = Constraint.Grammar(grammar);
        Assert.True(FormCheck.Has(constraint, good));
        Assert.All(bad, text => Assert.False(FormCheck.Has(constraint, text), text));
    }

    [Theory]
    [InlineData("root ::= root \"a\" | \"b\"", "'root' begins with itself (left recursion)")]
    [InlineData("root ::= n root \"a\" | \"b\"\nn ::= \"x\"?", "left recursion")]
    [InlineData("root ::= a\na ::= b \"x\" | \"y\"\nb ::= a", "left recursion")]
    [InlineData("root ::= \"a\" root", "never ends")]
    [InlineData("root ::= \"a\" x\nx ::= \"b\" y\ny ::= \"c\" x", "never ends")]
    [InlineData("root ::= \"a\" x", "line 1, character 14: the rule 'x' is used and not written")]
    [InlineData("a ::= \"b\"", "no rule 'root'")]
    [InlineData("root ::= \"a\"\nroot ::= \"b\"", "line 2, character 1: the rule 'root' is there twice")]
    [InlineData("root ::= \"a", "is not closed")]
    [InlineData("root ::= [a", "is not closed")]
    [InlineData("root ::= (\"a\"", "is not closed")]
    [InlineData("root = \"a\"", "'::=' is missing")]
    [InlineData("root ::= \"\\q\"", "escape is not known")]
    [InlineData("root ::= \"\\ud800\"", "hexadecimal digits of a character")]
    [InlineData("root ::= [b-a]", "before its beginning")]
    [InlineData("root ::= \"a\"{3,2}", "from 3 to 2")]
    [InlineData("root ::= \"a\"{999999}", "number of repeats")]
    [InlineData("root ::= a{1000}{1000}{1000}\na ::= [ab]", "more than 100000 states")]
    [InlineData("root ::= \"a\" @", "'@' is not understood")]
    [InlineData("", "no rule 'root'")]
    public void What_cannot_be_held_is_refused(string grammar, string expected)
    {
        ConstraintException refused = Assert.Throws<ConstraintException>(() => Constraint.Grammar(grammar));
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        PlainWords.Check(refused.Message);
    }

    [Fact]
    public void Random_answers_are_what_another_reader_accepts()
    {
        var random = new CounterRandom(0x6B, 1);
        var constraint = new TokenConstraint(Constraint.Grammar(Arithmetic), FormCheck.Small);
        int read = 0;
        for (int walk = 0; walk < 300; walk++)
        {
            if (FormCheck.Walk(constraint, ref random, most: 60) is not { } bytes)
                continue;
            string text = Encoding.UTF8.GetString(bytes);
            int at = 0;
            Assert.True(Sum(text, ref at) && at == text.Length, text);
            read++;
        }

        Assert.True(read > 100, $"{read} were read");
    }

    [Fact]
    public void Deep_and_long_grammars_end_in_time()
    {
        string deep = new string('(', 30_000) + "\"a\"" + new string(')', 30_000);
        Assert.Contains("nested", Assert.Throws<ConstraintException>(() => Constraint.Grammar($"root ::= {deep}")).Message,
            StringComparison.Ordinal);
        // Rules that are empty, each because of the next one.
        var chain = new StringBuilder("root ::= r0 \"x\"\n");
        for (int rule = 0; rule < 20_000; rule++)
            chain.Append($"r{rule} ::= r{rule + 1}\n");
        chain.Append("r20000 ::= \"\"");
        Assert.True(FormCheck.Has(Constraint.Grammar(chain.ToString()), "x"));
        Assert.Throws<ConstraintException>(() => Constraint.Grammar(new string('a', 2_000_000)));
    }

    [Theory]
    [InlineData("root ::= \"a\"{0,4000} \"\"{0,40000}")]
    [InlineData("root ::= (\"a\"? \"a\"? \"a\"?){1,5000}")]
    public void Repeats_of_what_may_be_nothing_are_counted(string grammar) =>
        Assert.Contains("is too large", Assert.Throws<ConstraintException>(() => Constraint.Grammar(grammar)).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Too_many_ways_to_read_an_answer_end_it()
    {
        // After n letters any number of rules may be open.
        var constraint = new TokenConstraint(Constraint.Grammar("root ::= \"a\" root | \"a\" root \"b\" root | \"c\""),
            FormCheck.Small);
        var run = new ConstraintRun(constraint);
        Assert.Contains("too many ways", Assert.Throws<ConstraintException>(() =>
        {
            for (int letter = 0; letter < 20_000; letter++)
                run.Accept(3 + 'a');
        }).Message, StringComparison.Ordinal);
    }

    private static bool Sum(string text, ref int at)
    {
        do
        {
            if (!Product(text, ref at))
                return false;
        }
        while (Take(text, ref at, "+-"));
        return true;
    }

    private static bool Product(string text, ref int at)
    {
        do
        {
            if (!Factor(text, ref at))
                return false;
        }
        while (Take(text, ref at, "*/"));
        return true;
    }

    private static bool Factor(string text, ref int at)
    {
        if (Take(text, ref at, "("))
            return Sum(text, ref at) && Take(text, ref at, ")");
        int start = at;
        while (Take(text, ref at, "0123456789"))
        {
        }

        return at > start;
    }

    private static bool Take(string text, ref int at, string letters)
    {
        if (at >= text.Length || !letters.Contains(text[at]))
            return false;
        at++;
        return true;
    }
}
