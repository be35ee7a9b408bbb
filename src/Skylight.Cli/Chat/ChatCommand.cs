using System.CommandLine;
using System.Runtime.InteropServices;
using Skylight.Chat;
using Spectre.Console;

namespace Skylight.Cli.Chat;

/// <summary><c>skylight chat</c>: a conversation, typed or piped.</summary>
internal static class ChatCommand
{
    public static Command Create()
    {
        var model = new ModelSelection();
        var settings = new AnswerSettings();
        var command = new SignalHandlingCommand("chat",
            "Talk with a model. Messages are lines; /help lists what else can be typed. Thinking is dimmed on a " +
            "terminal, and goes to the error stream elsewhere.");
        model.AddTo(command);
        settings.AddTo(command);
        command.SetAction((parse, cancellationToken) => RunAsync(model, settings, parse, cancellationToken));
        return command;
    }

    private static async Task<int> RunAsync(ModelSelection selection, AnswerSettings settings, ParseResult parse,
        CancellationToken cancellationToken)
    {
        GenerationOptions options = settings.Options(parse);
        using var loading = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Action interrupt = loading.Cancel;
        using PosixSignalRegistration signal = PosixSignalRegistration.Create(PosixSignal.SIGINT, context =>
        {
            context.Cancel = true;
            Volatile.Read(ref interrupt)();
        });
        await using ChatModel model = await selection.LoadAsync(parse, options => options with { MaximumRequests = 1 },
            loading.Token);
        bool isInteractive = !Console.IsInputRedirected;
        IAnsiConsole console = AnsiConsole.Console;
        var session = new ChatSession(model, options, settings.System(parse), isInteractive ? Console.In
            : StandardInput.Open(), console, Console.Error, isInteractive);
        Volatile.Write(ref interrupt, session.Interrupt);
        if (isInteractive)
            console.MarkupLineInterpolated(
                $"{model.Name}, {model.ContextTokens} tokens of context. [dim]/help lists what can be typed, /exit ends.[/]");
        return await session.RunAsync(cancellationToken);
    }
}
