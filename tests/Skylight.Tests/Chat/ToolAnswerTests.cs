using System.Text.Json;
using Skylight.Chat;
using Skylight.Constraints;
using Skylight.Generation;
using Skylight.Images;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Chat;

/// <summary>Answers that call tools: of offered ones, with arguments of their schemas, whatever the weights.</summary>
public sealed class ToolAnswerTests : IDisposable
{
    private static readonly int s_open = ((ITokenizer)TokenizerFixture.Real).TokenId("<tool_call>")!.Value;

    private static readonly ToolDefinition[] s_tools =
    [
        new("zoom", "Enlarges a part.", """
            {"type": "object", "properties": {"left": {"type": "integer", "minimum": 0, "maximum": 9}, "unit": {"enum": ["px", "%"]}},
             "required": ["left", "unit"], "additionalProperties": false}
            """),
        new("now"),
        new("find", null, """{"properties": {"text": {"type": "string", "maxLength": 5}}, "required": ["text"], "additionalProperties": false}"""),
    ];

    private readonly ChatModel _model = TinyChatModel.Create();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _model.Dispose();

    [Fact]
    public async Task A_call_that_must_come_has_the_form()
    {
        for (ulong seed = 0; seed < 6; seed++)
        {
            GenerationOptions options = Options(seed) with { ToolChoice = ToolChoice.Required, ParallelToolCalls = false };
            ChatAnswer answer = await _model.CompleteAsync([Message.User("Look.")], options, Cancellation);
            Assert.Equal((FinishReason.ToolCalls, ""), (answer.FinishReason, answer.Answer));
            Check(Assert.Single(answer.ToolCalls));
            answer = await _model.CompleteAsync([Message.User("Look.")],
                options with { ToolChoice = ToolChoice.Named("zoom") }, Cancellation);
            Assert.Equal("zoom", Assert.Single(answer.ToolCalls).Name);
            Check(answer.ToolCalls[0]);
        }
    }

    [Fact]
    public async Task A_model_that_may_call_is_free_until_it_opens_a_call()
    {
        ChatAnswer text = await _model.CompleteAsync([Message.User("Look.")], Options(1) with { MaxOutputTokens = 12 }, Cancellation);
        Assert.Empty(text.ToolCalls);
        Assert.NotEmpty(text.Answer);
        for (ulong seed = 0; seed < 4; seed++)
        {
            // So likely that it is written wherever it may be.
            GenerationOptions eager = Options(seed) with
            {
                Tools = s_tools[..2],
                ParallelToolCalls = false,
                LogitBias = new Dictionary<int, float> { [s_open] = 200 },
            };
            ChatAnswer answer = await _model.CompleteAsync([Message.User("Look.")], eager, Cancellation);
            Assert.Equal(FinishReason.ToolCalls, answer.FinishReason);
            Check(Assert.Single(answer.ToolCalls));
            // With thinking a call in the think block is text like any other.
            answer = await _model.CompleteAsync([Message.User("Look.")],
                eager with { Thinking = ThinkingMode.On, MaxOutputTokens = 20 }, Cancellation);
            Assert.Contains("<tool_call><tool_call>", answer.Thinking, StringComparison.Ordinal);
            Assert.Empty(answer.ToolCalls);
        }
    }

    [Fact]
    public async Task Several_calls_may_come_and_a_form_beside_them()
    {
        int most = 0;
        for (ulong seed = 0; seed < 12 && most < 2; seed++)
        {
            ChatAnswer answer = await _model.CompleteAsync([Message.User("Look.")],
                Options(seed) with
                {
                    Tools = [s_tools[1]],
                    ToolChoice = ToolChoice.Required,
                    MaxOutputTokens = 400,
                    // Of what may follow a call, the line break before another one.
                    LogitBias = TokenizerFixture.Real.StopTokenIds().ToDictionary(token => token, _ => -100f)
                }, Cancellation);
            most = Math.Max(most, answer.ToolCalls.Count);
            Assert.All(answer.ToolCalls, Check);
        }

        Assert.True(most >= 2);
        GenerationOptions formed = Options(3) with { Tools = [s_tools[1]], Constraint = Constraint.Choice("yes", "no") };
        ChatAnswer chosen = await _model.CompleteAsync([Message.User("Look.")], formed, Cancellation);
        Assert.True(chosen.ToolCalls.Count > 0 || chosen.Answer is "yes" or "no", chosen.Answer);
    }

    [Fact]
    public async Task A_call_that_is_cut_off_says_so()
    {
        List<GenerationUpdate> updates = [];
        await foreach (GenerationUpdate update in _model.GenerateAsync([Message.User("Look.")],
            Options(1) with
            {
                ToolChoice = ToolChoice.Named("zoom"),
                MaxOutputTokens = 6,
                // The tag as the one token that it is, so that the call has begun when the tokens end.
                LogitBias = new Dictionary<int, float> { [s_open] = 200 },
            }, Cancellation))
            updates.Add(update);
        Assert.Equal(FinishReason.Length, updates[^1].FinishReason);
        Assert.Contains(updates, update => update.BrokenToolCall is not null);
        Assert.DoesNotContain(updates, update => update.ToolCall is { IsComplete: true });
    }

    [Fact]
    public async Task The_prompt_names_tools_and_holds_calls_results_and_their_pictures()
    {
        Message[] messages =
        [
            Message.User("Look."),
            Message.Assistant("I will.", [new ToolCall("a", "zoom", """{"left": 1, "unit": "px"}"""), new ToolCall("b", "now", "{}")]),
            Message.ToolResult("b", "noon"),
            Message.ToolResult("a", "Here: ", ImagePart.FromRgb(TinyChatModel.Picture(1))),
        ];
        PreparedPrompt prompt = await _model.PrepareAsync(messages, Options(1), Cancellation);
        string text = TokenizerFixture.Real.Decode([.. prompt.Sequence.Tokens.Where(token =>
            token != ((ITokenizer)TokenizerFixture.Real).TokenId(SpecialTokens.ImageContext))]);
        Assert.Contains("<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"zoom\", \"description\": \"Enlarges a part.\", ",
            text, StringComparison.Ordinal);
        // In the order of the calls.
        Assert.Contains("<tool_response>\nHere: <img></img>\n\n</tool_response>\n<tool_response>\nnoon\n</tool_response>", text,
            StringComparison.Ordinal);
        Assert.Equal(256, prompt.ImageTokens);
        Assert.DoesNotContain("# Tools", TokenizerFixture.Real.Decode((await _model.PrepareAsync(messages,
            Options(1) with { ToolChoice = ToolChoice.None }, Cancellation)).Sequence.Tokens), StringComparison.Ordinal);
        ChatAnswer answer = await _model.CompleteAsync(messages, Options(1) with { MaxOutputTokens = 3 }, Cancellation);
        Assert.Equal(3, answer.Usage.CompletionTokens);
    }

    [Fact]
    public async Task What_makes_no_sense_is_refused()
    {
        ToolCall call = new("a", "now", "{}");
        Message question = Message.User("x"), asked = Message.Assistant("", [call, call with { Id = "b" }]);
        await Refused("two calls' result", "no call of that id", [question, asked, Message.ToolResult("c", "1"), Message.ToolResult("a", "1")]);
        await Refused("twice", "has its result already", [question, asked, Message.ToolResult("a", "1"), Message.ToolResult("a", "1")]);
        await Refused("missing", "The call 'b' in message 1 has no result", [question, asked, Message.ToolResult("a", "1")]);
        await Refused("last", "what they gave must follow it", [question, asked]);
        await Refused("role", "only the assistant calls tools", [new Message(ChatRole.User, [new ToolCallPart(call)])]);
        Throws("tools with the name 'now'", () => (Options(1) with { Tools = [s_tools[1], s_tools[1]] }).Validate());
        Throws("at most 128", () => (Options(1) with
        {
            Tools = [.. Enumerable.Range(0, 129).Select(index => new ToolDefinition($"f{index}"))],
        }).Validate());
        Throws("is not offered; there are 'zoom'", () => (Options(1) with { ToolChoice = ToolChoice.Named("x") }).Validate());
        Throws("none is offered", () => new GenerationOptions { ToolChoice = ToolChoice.Required }.Validate());
        Throws("cannot be ignored", () => (Options(1) with { IgnoreEndOfSequence = true }).Validate());
        Throws("letters, digits", () => _ = new ToolDefinition("a b"));
        Throws("must be a schema of an object", () => _ = new ToolDefinition("f", null, """{"type": "string"}"""));
        Throws("the keyword 'not' cannot be held", () => _ = new ToolDefinition("f", null, """{"type": "object", "not": {}}"""));
        Assert.False(new ToolDefinition("f", null, """{"type": "object", "not": {}}""", isStrict: false).IsStrict);

        static void Throws(string expected, Action action) => Assert.Contains(expected,
            Assert.ThrowsAny<ArgumentException>(action).Message, StringComparison.Ordinal);

        async Task Refused(string what, string expected, Message[] messages) => Assert.True(
            (await Assert.ThrowsAnyAsync<ArgumentException>(() => _model.PrepareAsync(messages, cancellationToken: Cancellation)))
                .Message.Contains(expected, StringComparison.Ordinal), what);
    }

    private static GenerationOptions Options(ulong seed) =>
        new() { Tools = s_tools, Temperature = 1, Seed = seed, MaxOutputTokens = 120 };

    private static void Check(ToolCall call)
    {
        JsonElement arguments = JsonDocument.Parse(call.Arguments).RootElement;
        string[] names = [.. arguments.EnumerateObject().Select(member => member.Name)];
        switch (call.Name)
        {
            case "zoom":
                Assert.Equal(["left", "unit"], names);
                Assert.InRange(arguments.GetProperty("left").GetInt32(), 0, 9);
                Assert.Contains(arguments.GetProperty("unit").GetString(), (string[])["px", "%"]);
                break;
            case "find":
                Assert.Equal(["text"], names);
                break;
            default:
                Assert.Equal(("now", "{}"), (call.Name, call.Arguments));
                break;
        }
    }
}
