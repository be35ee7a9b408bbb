using System.Text;
using Skylight.Chat;
using Skylight.Execution;
using Skylight.Generation;
using Spectre.Console;

namespace Skylight.Cli.Chat;

/// <summary>A conversation on a console: reads lines, shows answers.</summary>
/// <param name="model">The model.</param>
/// <param name="options">How answers are made.</param>
/// <param name="system">What the model is told about the whole conversation; null for what belongs to it.</param>
/// <param name="input">Where lines come from.</param>
/// <param name="console">Where answers go.</param>
/// <param name="error">Where errors go, and thinking if the console is no terminal.</param>
/// <param name="isInteractive">Whether somebody types: prompts and notes are shown then.</param>
internal sealed class ChatSession(ChatModel model, GenerationOptions options, string? system, TextReader input,
    IAnsiConsole console, TextWriter error, bool isInteractive)
{
    private const string Help = """
        /image PATH      look at a picture with the next message; may be given several times
        /think on|off    whether the model thinks before it answers
        /reset           forget the conversation
        /exit            end
        Ctrl-C           stop the answer, which is what was written so far; again, or while nothing is written, end
        """;

    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _exit = new();
    private readonly List<Message> _conversation = [];
    private readonly List<ImagePart> _pictures = [];
    private GenerationOptions _options = options;
    private CancellationTokenSource? _answering;

    /// <summary>The conversation so far.</summary>
    public IReadOnlyList<Message> Conversation => _conversation;

    /// <summary>Ctrl-C: stops the answer that is being written, and else the session. Safe on any thread.</summary>
    public void Interrupt()
    {
        lock (_gate)
        {
            if (_answering is { IsCancellationRequested: false } answering)
                answering.Cancel();
            else
                _exit.Cancel();
        }
    }

    /// <summary>Goes on until the input ends or the user does.</summary>
    /// <returns>0, or 1 if something could not be answered and nobody was there to see it, or 130 if it was
    /// interrupted.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken = default)
    {
        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(_ => _exit.Cancel(), null);
        Reset();
        bool failed = false;
        try
        {
            while (await ReadLineAsync() is { } line)
            {
                line = line.Trim();
                if (line is "/exit" or "/quit")
                    break;
                if (line.Length == 0 && _pictures.Count == 0)
                    continue;
                try
                {
                    if (line.StartsWith('/'))
                        await ObeyAsync(line);
                    else
                        await AnswerAsync(line);
                }
                catch (Exception exception)
                    when (exception is ArgumentException or IOException or UnauthorizedAccessException
                        or Images.ImageException or OutOfDeviceMemoryException)
                {
                    failed = true;
                    await error.WriteLineAsync($"skylight: {AnswerPrinter.Printable(PlainMessages.Of(exception))}");
                }
            }
        }
        catch (OperationCanceledException) when (_exit.IsCancellationRequested)
        {
            // The terminal shows ^C where the line was typed; the shell's prompt belongs below it.
            if (isInteractive)
                console.WriteLine();
            return ErrorReporting.Cancelled;
        }

        return failed && !isInteractive ? 1 : 0;
    }

    private async Task<string?> ReadLineAsync()
    {
        if (isInteractive)
            console.Markup(_pictures.Count > 0
                ? $"[bold]({_pictures.Count} picture{(_pictures.Count == 1 ? "" : "s")}) >[/] " : "[bold]>[/] ");
        // A terminal's read cannot be cancelled: it is left behind.
        try
        {
            string? line = await Task.Run(input.ReadLine, CancellationToken.None).WaitAsync(_exit.Token);
            return line?.Contains('\0', StringComparison.Ordinal) == true
                ? throw StandardInput.NoText("it holds a byte of zero, as UTF-16 does; write it in UTF-8.") : line;
        }
        catch (DecoderFallbackException exception)
        {
            throw StandardInput.NoText("its bytes are not UTF-8; write it in UTF-8.", exception);
        }
    }

    private async Task ObeyAsync(string line)
    {
        string[] words = line.Split((char[]?)null, 2,
            StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        switch (words)
        {
            case ["/image", var path]:
                path = path.Trim('"', '\'');
                // Read now: every later turn looks at it again, and the file may be gone by then.
                _pictures.Add(await ImagePart.ReadFileAsync(path, model.ImageLimits, _exit.Token));
                break;
            case ["/think", "on" or "off"]:
                _options = _options with { Thinking = AnswerSettings.ThinkingOf(words[1]) };
                break;
            case ["/reset"]:
                Reset();
                Note("The conversation is forgotten.");
                break;
            case ["/help"]:
                console.Profile.Out.Writer.WriteLine(Help);
                break;
            default:
                throw new ArgumentException(
                    $"There is no command '{AnswerPrinter.Printable(line)}'. There are: /image PATH, /think on|off, /reset, /exit and /help.");
        }
    }

    private void Reset()
    {
        _conversation.Clear();
        _pictures.Clear();
        if (system is not null)
            _conversation.Add(Message.System(system));
    }

    private async Task AnswerAsync(string question)
    {
        Message message = Message.User(question, [.. _pictures]);
        // Whatever comes of it: pictures that cannot be used should not come back with the next question.
        _pictures.Clear();
        using var answering = CancellationTokenSource.CreateLinkedTokenSource(_exit.Token);
        lock (_gate)
            _answering = answering;
        var printer = new AnswerPrinter(console, error);
        var answer = new System.Text.StringBuilder();
        try
        {
            await foreach (
                GenerationUpdate update in model.GenerateAsync([.. _conversation, message], _options, answering.Token))
            {
                printer.Show(update);
                if (update.Kind == UpdateKind.Answer)
                    answer.Append(update.Text);
                if (update.Usage is not { } usage)
                    continue;
                printer.End();
                Note($"{AnswerPrinter.Describe(usage)}{(update.FinishReason == FinishReason.Length ? AnswerPrinter.CutOff : "")}");
            }

            Remember();
        }
        catch (OperationCanceledException) when (answering.IsCancellationRequested && !_exit.IsCancellationRequested)
        {
            printer.End();
            if (answer.Length > 0)
                Remember();
            Note(answer.Length > 0 ? "Stopped; what was written is the answer. Ctrl-C again ends."
                : "Stopped before an answer; the question is forgotten. Ctrl-C again ends.");
        }
        finally
        {
            printer.Undim();
            lock (_gate)
                _answering = null;
        }

        void Remember()
        {
            _conversation.Add(message);
            _conversation.Add(Message.Assistant(answer.ToString()));
        }
    }

    private void Note(string text)
    {
        if (isInteractive)
            console.MarkupLineInterpolated($"[dim]{text}[/]");
    }
}
