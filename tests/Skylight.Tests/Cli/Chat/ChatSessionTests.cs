using Skylight.Chat;
using Skylight.Cli;
using Skylight.Cli.Chat;
using Skylight.Tests.Chat;
using Skylight.Tests.Generation;
using Skylight.Tests.Text;
using Skylight.Text;
using Spectre.Console;

namespace Skylight.Tests.Cli.Chat;

/// <summary>What can be typed, and what Ctrl-C does.</summary>
public sealed class ChatSessionTests
{
    private static readonly GenerationOptions s_drawn = new() { Temperature = 1, Seed = 3, MaxOutputTokens = 8 };

    [Fact]
    public async Task A_conversation_grows_and_is_forgotten()
    {
        await using ChatModel model = TinyChatModel.Create();
        (ChatSession session, StringWriter output, _) = Create(model, s_drawn, "Hello\n\nAnd then?\n", system: "Be brief.");
        Assert.Equal(0, await session.RunAsync());
        Assert.Equal([ChatRole.System, ChatRole.User, ChatRole.Assistant, ChatRole.User, ChatRole.Assistant],
            session.Conversation.Select(message => message.Role));
        ChatAnswer first = await model.CompleteAsync([Message.System("Be brief."), Message.User("Hello")], s_drawn);
        ChatAnswer second = await model.CompleteAsync([Message.System("Be brief."), Message.User("Hello"),
            Message.Assistant(first.Answer), Message.User("And then?")], s_drawn);
        Assert.Equal($"{first.Answer}{Environment.NewLine}{second.Answer}{Environment.NewLine}", output.ToString());
        (session, _, _) = Create(model, s_drawn, "Hello\n/reset\n");
        await session.RunAsync();
        Assert.Empty(session.Conversation);
    }

    [Fact]
    public async Task A_picture_goes_with_the_next_message_alone()
    {
        await using ChatModel model = TinyChatModel.Create();
        string picture = ChatCheckpoint.Picture("cat.png"), broken = ChatCheckpoint.Picture("golden.json");
        (ChatSession session, _, StringWriter error) = Create(model, s_drawn with { MaximumTiles = 1 },
            $"/image {picture}\n/image \"{picture}\"\nWhat?\nAnd?\n/image {broken}\nWhat?\nStill there?\n");
        Assert.Equal(1, await session.RunAsync());
        Assert.Equal([2, 0, 0], session.Conversation.Where(message => message.Role == ChatRole.User)
            .Select(message => message.Parts.Count(part => part is ImagePart)));
        Assert.Contains("cannot be decoded", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_picture_stays_in_the_conversation_when_its_file_is_gone()
    {
        await using ChatModel model = TinyChatModel.Create();
        using var folder = new TemporaryFolder();
        string picture = folder["picture.png"];
        File.Copy(ChatCheckpoint.Picture("cat.png"), picture);
        var input = new Lines();
        var error = new StringWriter();
        var session = new ChatSession(model, s_drawn with { MaximumTiles = 1 }, null, input,
            PlainConsole.On(new StringWriter()), error, isInteractive: false);
        Task<int> run = session.RunAsync();
        input.Add($"/image {picture}");
        input.Add("What?");
        while (session.Conversation.Count < 2 && !run.IsCompleted)
            await Task.Delay(5);
        File.Delete(picture);
        input.Add("And now?");
        input.Add(null);
        Assert.Equal(0, await run);
        Assert.Equal(4, session.Conversation.Count);
        Assert.Equal("", error.ToString());
    }

    [Fact]
    public async Task Thinking_is_dimmed_on_a_terminal_and_control_characters_do_nothing()
    {
        await using ChatModel model = TinyChatModel.Create(thinking: true);
        (ChatSession session, StringWriter output, StringWriter error) = Create(model, s_drawn,
            "Hello\n/think off\nHello\n", isTerminal: true);
        Assert.Equal(0, await session.RunAsync());
        Assert.StartsWith("\u001b[2m", output.ToString(), StringComparison.Ordinal);
        Assert.Equal(1, Occurrences(output.ToString(), "\u001b[2m"));
        Assert.Equal(1, Occurrences(output.ToString(), "\u001b[0m"));
        Assert.Equal("", error.ToString());
        Assert.Equal("a\uFFFD[2Jb\n\tc", AnswerPrinter.Printable("a\u001b[2Jb\n\tc"));
    }

    [Fact]
    public async Task The_first_interrupt_stops_the_answer_and_the_second_the_session()
    {
        await using ChatModel model = TinyChatModel.Create();
        GenerationOptions endless = s_drawn with
        {
            MaxOutputTokens = 7000,
            LogitBias = TokenizerFixture.Real.StopTokenIds()
                .ToDictionary(token => token, _ => float.NegativeInfinity),
        };
        var input = new Lines();
        var output = new LockedWriter();
        var session = new ChatSession(model, endless, null, input, Console(output, false), new StringWriter(),
            isInteractive: false);
        Task<int> run = session.RunAsync();
        Task<GenerationHold> reading = GenerationHold.WhenAsync(model.BetweenStepsAsync,
            engine => engine.ReadingRequests + engine.WaitingRequests > 0);
        input.Add("What is forgotten");
        using (await reading)
            session.Interrupt();
        while (!input.IsWaiting)
            await Task.Delay(5);
        Assert.Empty(session.Conversation);
        input.Add("Go on forever");
        while (output.ToString().Length < 20)
            await Task.Delay(1);
        session.Interrupt();
        while (!input.IsWaiting)
            await Task.Delay(5);
        Assert.False(run.IsCompleted);
        await model.BetweenStepsAsync(engine => Assert.Equal(engine.PageCount, engine.FreePages));
        // What was written until then is the answer.
        Assert.Equal(["Go on forever", output.ToString().Trim('\n')],
            session.Conversation.Select(
                message => Assert.IsType<TextPart>(Assert.Single(message.Parts)).Text.TrimEnd('\n')));
        Assert.NotEqual("", output.ToString().Trim());
        input.Add("/think off");
        while (!input.IsWaiting)
            await Task.Delay(5);
        session.Interrupt();
        Assert.Equal(130, await run);
        input.Add(null);
    }

    [Fact]
    public async Task What_follows_an_interrupted_prompt_is_on_a_line_of_its_own()
    {
        await using ChatModel model = TinyChatModel.Create();
        var input = new Lines();
        var output = new StringWriter();
        var session = new ChatSession(model, s_drawn, null, input, Console(output, false), new StringWriter(),
            isInteractive: true);
        Task<int> run = session.RunAsync();
        while (!input.IsWaiting)
            await Task.Delay(5);
        Assert.Equal("> ", output.ToString());
        session.Interrupt();
        Assert.Equal(130, await run);
        Assert.Equal("> \n", output.ToString().ReplaceLineEndings("\n"));
        input.Add(null);
    }

    private static (ChatSession Session, StringWriter Output, StringWriter Error) Create(ChatModel model,
        GenerationOptions options, string input, string? system = null, bool isTerminal = false)
    {
        var output = new StringWriter();
        var error = new StringWriter();
        return (new ChatSession(model, options, system, new StringReader(input), Console(output, isTerminal), error,
            isInteractive: false), output, error);
    }

    private static IAnsiConsole Console(StringWriter output, bool isTerminal) =>
        AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = isTerminal ? AnsiSupport.Yes : AnsiSupport.No,
            Out = new AnsiConsoleOutput(output),
        });

    private static int Occurrences(string text, string part) => text.Split(part).Length - 1;

    /// <summary>Lines as somebody types them.</summary>
    private sealed class Lines : TextReader
    {
        private readonly System.Collections.Concurrent.BlockingCollection<string?> _lines = [];
        private int _waiting;

        public bool IsWaiting => Volatile.Read(ref _waiting) > 0 && _lines.Count == 0;

        public void Add(string? line) => _lines.Add(line);

        public override string? ReadLine()
        {
            Interlocked.Increment(ref _waiting);
            string? line = _lines.Take();
            Interlocked.Decrement(ref _waiting);
            return line;
        }
    }

    /// <summary>A text that is read while another thread writes it.</summary>
    private sealed class LockedWriter : StringWriter
    {
        private readonly Lock _lock = new();

        public override void Write(char value)
        {
            lock (_lock)
                base.Write(value);
        }

        public override void Write(string? value)
        {
            lock (_lock)
                base.Write(value);
        }

        public override void Write(char[] buffer, int index, int count)
        {
            lock (_lock)
                base.Write(buffer, index, count);
        }

        public override void Write(ReadOnlySpan<char> buffer)
        {
            lock (_lock)
                base.Write(buffer);
        }

        public override string ToString()
        {
            lock (_lock)
                return base.ToString();
        }
    }
}
