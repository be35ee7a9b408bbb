using System.Text;
using Skylight.Constraints;
using Skylight.Tensors;
using Skylight.Tests.Text;

namespace Skylight.Tests.Constraints;

/// <summary>Masks against a search that knows no short cuts, and what is kept of them.</summary>
public sealed class TokenConstraintTests
{
    public static TheoryData<string> Schemas =>
    [
        """{"type": "object", "properties": {"a": {"type": "string", "maxLength": 40}, "b": {"type": "array", "items": {"$ref": "#"}}}}""",
        """{"type": "object", "properties": {"n": {"type": "number", "minimum": -3, "maximum": 1000}, "c": {"pattern": "^[a-c]{3,30}$", "type": "string"}}, "required": ["n", "c"]}""",
        """{"anyOf": [{"type": "string"}, {"enum": ["a", "abc", null, 10]}, {"type": "array", "maxItems": 30}]}""",
    ];

    /// <summary>
    /// Short cuts are: what a place reads is looked up once for all places that call it, and states that no token can
    /// tell apart share a mask.
    /// </summary>
    [Theory]
    [MemberData(nameof(Schemas))]
    public void A_mask_is_what_every_token_alone_says(string schema)
    {
        var form = Constraint.JsonSchema(schema);
        var constraint = new TokenConstraint(form, FormCheck.Small);
        var random = new CounterRandom(0x3A5, 1);
        int compared = 0;
        for (int walk = 0; walk < 8; walk++)
        {
            var run = new ConstraintRun(constraint);
            var plain = new ConfigurationSet(form.Automaton, new ConstraintWork());
            Configuration at = plain.Start;
            for (int length = 0; length < 60 && run.Mask.Count > 0; length++)
            {
                int[] allowed = [.. Enumerable.Range(0, FormCheck.Small.Size).Where(run.Mask.Contains)];
                Assert.Equal(Enumerable.Range(3, FormCheck.Small.Size - 3)
                    .Where(token => After(at, token) is not null), allowed);
                Assert.Equal(at.IsComplete, run.IsComplete);
                compared++;
                int token = allowed[random.Next(allowed.Length)];
                run.Accept(token);
                at = After(at, token)!;
            }

            Configuration? After(Configuration from, int token)
            {
                Configuration? next = from;
                foreach (byte value in FormCheck.Pieces.TokenBytes(token))
                    next = next is null ? null : plain.Step(next, value);
                return next;
            }
        }

        Assert.True(compared > 50);
    }

    [Fact]
    public void Places_that_no_token_can_tell_apart_share_their_masks()
    {
        var constraint = new TokenConstraint(Constraint.JsonSchema("""{"type": "string", "maxLength": 1000}"""), FormCheck.Small);
        var run = new ConstraintRun(constraint);
        run.Accept(3 + '"');
        for (int letter = 0; letter < 50; letter++)
            run.Accept(3 + 'a');
        long walks = constraint.Walks;
        TokenMask mask = run.Mask;
        for (int letter = 0; letter < 500; letter++)
            run.Accept(3 + 'a');
        Assert.Same(mask, run.Mask);
        Assert.Equal(walks, constraint.Walks);
        for (int letter = 550; letter < 1000; letter++)
            run.Accept(3 + 'a');
        Assert.Equal([3 + '"'], Enumerable.Range(0, FormCheck.Small.Size).Where(token => run.Mask.Contains(token)
            && FormCheck.Small.BytesOf(token).Length == 1));
    }

    /// <summary>Such a pattern stopped a server for a minute: its masks were looked for without end.</summary>
    [Fact]
    public void An_answer_whose_masks_take_too_long_ends()
    {
        const string Any = "[ -~]";
        string others = string.Join('|', Enumerable.Range(0, 26).Select(index => $"{(char)('a' + index)}{Any}{{{60 + index}}}"));
        var run = new ConstraintRun(new TokenConstraint(
            Constraint.Regex($"x(({Any}{{0,40}}){{0,40}}|{Any}*({others}))"), FormCheck.Real));
        Assert.Contains("takes too long", Assert.Throws<ConstraintException>(() =>
        {
            for (int letter = 0; letter < 100; letter++)
            {
                run.Accept(TokenizerFixture.Real.Encode(letter == 0 ? "x" : "a")[0]);
                _ = run.Mask;
            }
        }).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_known_is_used_again_and_forgotten_when_it_is_much()
    {
        var constraint = new TokenConstraint(Constraint.Json(), FormCheck.Small);
        int[] tokens = [.. Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("[{\"a\":", 3)) + "1").Select(value => 3 + value)];
        Assert.False(FormCheck.Follows(constraint, tokens));
        long walks = constraint.Walks;
        Assert.False(FormCheck.Follows(constraint, tokens));
        Assert.Equal(walks, constraint.Walks);
        // As deep as that, configurations are more than are kept; answers go on nevertheless.
        var run = new ConstraintRun(constraint);
        for (int depth = 0; depth < 30_000; depth++)
            run.Accept(3 + '[');
        Assert.False(FormCheck.Follows(constraint, tokens));
        for (int depth = 0; depth < 30_000; depth++)
            run.Accept(3 + ']');
        Assert.True(run.IsComplete && run.Mask.Count == 0);
    }

    [Fact]
    public void Thinking_is_free_and_the_form_begins_behind_it()
    {
        Constraint form = Constraint.JsonSchema("""{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}""");
        var constraint = new TokenConstraint(form.AfterThinking(isOpen: true), FormCheck.Small);
        foreach (string text in (string[])["Hmm </thi </think>\n\n{\"a\":1}", "</think>{\"a\":1}", "{\"x\n</</think>\n{\"a\":1}"])
            Assert.True(FormCheck.Has(constraint, text), text);
        foreach (string text in (string[])["{\"a\":1}", "</think>{\"b\"", "</think>", "</think>\n\n\n\n{\"a\":1}"])
            Assert.False(FormCheck.Has(constraint, text), text);
        // Special tokens may stand in thinking; one that closes it does, any other breaks up what is written of a tag.
        var run = new ConstraintRun(constraint);
        int close = FormCheck.Pieces.TokenId("</think>")!.Value, start = FormCheck.Pieces.TokenId("<|im_start|>")!.Value;
        Assert.True(run.Mask.Contains(close) && run.Mask.Contains(start));
        foreach (byte value in "</thi"u8.ToArray())
            run.Accept(3 + value);
        run.Accept(start);
        foreach (byte value in "nk>"u8.ToArray())
            run.Accept(3 + value);
        Assert.True(run.Mask.Contains(close));
        run.Accept(close);
        Assert.False(run.Mask.Contains(close) || run.Mask.Contains(start) || run.Mask.Contains(3 + 'x'));
        foreach (byte value in "{\"a\":1}"u8.ToArray())
            run.Accept(3 + value);
        Assert.True(run.IsComplete);
        Assert.Throws<ConstraintException>(() => run.Accept(3 + 'x'));

        var perhaps = new TokenConstraint(form.AfterThinking(isOpen: false), FormCheck.Small);
        Assert.True(FormCheck.Has(perhaps, "{\"a\":1}"));
        Assert.True(FormCheck.Has(perhaps, "<think>\nHm.\n</think>\n\n{\"a\":1}"));
        Assert.False(FormCheck.Has(perhaps, "Hm.</think>{\"a\":1}"));
    }

    [Fact]
    public void Parts_make_larger_forms()
    {
        // What a call of a tool looks like.
        Constraint call = Constraint.Sequence(Constraint.Text("<tool_call>\n"), Constraint.AnyOf(
            Constraint.JsonSchema("""{"const": {"name": "a"}}"""), Constraint.Regex("b+")), Constraint.Text("\n</tool_call>"));
        Constraint calls = Constraint.Repeated(call, 1, 2);
        const string One = "<tool_call>\n{\"name\": \"a\"}\n</tool_call>", Other = "<tool_call>\nbb\n</tool_call>";
        Assert.True(FormCheck.Has(calls, One) && FormCheck.Has(calls, One + Other));
        Assert.False(FormCheck.Has(calls, "") || FormCheck.Has(calls, One + One + One) || FormCheck.Has(calls, One[..^1]));
        Assert.NotEqual(calls.Key, Constraint.Repeated(call, 1, 3).Key);
        Assert.Equal(calls.Key, Constraint.Repeated(call, 1, 2).Key);
        Assert.Throws<ConstraintException>(() => Constraint.Text(""));
        Assert.Throws<ConstraintException>(() => Constraint.Sequence());
        Assert.Throws<ArgumentOutOfRangeException>(() => Constraint.Repeated(call, 2, 1));
    }

    [Fact]
    public void Answers_are_written_with_the_tokens_of_the_family()
    {
        const string Text = """{"name": "Jörg 漢字 😀", "age": 42, "tags": ["x", "y"]}""";
        var constraint = new TokenConstraint(Constraint.JsonSchema("""
            {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0},
             "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["name"], "additionalProperties": false}
            """), FormCheck.Real);
        Assert.True(FormCheck.Follows(constraint, TokenizerFixture.Real.Encode(Text)));
        Assert.True(FormCheck.Follows(constraint, [.. Encoding.UTF8.GetBytes(Text).Select(ByteToken)]));
        Assert.False(FormCheck.Follows(constraint, TokenizerFixture.Real.Encode(Text.Replace("42", "-1"))));

        static int ByteToken(byte value) => Enumerable.Range(0, 256).First(token =>
            TokenizerFixture.Real.TokenBytes(token) is [var only] && only == value);
    }

    [Fact]
    public void A_vocabulary_that_cannot_begin_an_answer_is_refused()
    {
        var letters = new ConstraintVocabulary(new Skylight.Text.CharacterTokenizer("abc", "<|im_end|>"));
        Assert.Contains("could begin", Assert.Throws<ConstraintException>(
            () => new ConstraintRun(new TokenConstraint(Constraint.JsonObject(), letters))).Message, StringComparison.Ordinal);
        Assert.True(new ConstraintRun(new TokenConstraint(Constraint.Regex("a[xb]"), letters)).Mask.Count == 1);
    }
}
