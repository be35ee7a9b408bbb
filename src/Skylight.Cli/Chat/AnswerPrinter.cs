using System.Globalization;
using System.Text;
using Skylight.Chat;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Skylight.Cli.Chat;

/// <summary>
/// Shows an answer as it comes. On a terminal thinking is dimmed (where escapes are wanted) and goes before the answer;
/// elsewhere the output gets the answer alone, so that it can be used, and thinking goes to the error stream.
/// </summary>
/// <param name="console">Where the answer goes.</param>
/// <param name="thinking">Where thinking goes if the console is no terminal; null for nowhere.</param>
internal sealed class AnswerPrinter(IAnsiConsole console, TextWriter? thinking)
{
    /// <summary>Said of an answer that did not come to its end.</summary>
    public const string CutOff = "; cut off: --max-tokens and --context say how long it may be";

    private readonly bool _dims = console.Profile.Capabilities.Ansi;
    private readonly bool _isTerminal = console.Profile.Capabilities.Ansi || console.Profile.Out.IsTerminal;
    private UpdateKind? _shown;

    /// <summary>Shows a piece.</summary>
    public void Show(GenerationUpdate update)
    {
        if (update.Text.Length == 0)
            return;
        if (update.Kind != _shown)
            Change(update.Kind);
        bool isBeside = update.Kind == UpdateKind.Thinking && !_isTerminal;
        // A model can write anything, also what would move the cursor or change the title; the error stream may be a
        // terminal where the output is none.
        string text = _isTerminal || isBeside ? Printable(update.Text) : update.Text;
        TextWriter? writer = isBeside ? thinking : console.Profile.Out.Writer;
        writer?.Write(text);
        writer?.Flush();
    }

    /// <summary>Leaves the terminal as it was, wherever the answer stopped.</summary>
    public void Undim()
    {
        if (_shown == UpdateKind.Thinking && _dims)
            console.Write(new ControlCode("\u001b[0m"));
    }

    /// <summary>Ends the answer's last line.</summary>
    public void End()
    {
        Change(null);
        console.Profile.Out.Writer.WriteLine();
        console.Profile.Out.Writer.Flush();
    }

    /// <summary>A line about what an answer took.</summary>
    public static string Describe(Usage usage)
    {
        double seconds = (usage.Duration - usage.TimeToFirstToken).TotalSeconds;
        string speed = usage.CompletionTokens > 1 && seconds > 0 ? string.Create(CultureInfo.InvariantCulture,
            $", {(usage.CompletionTokens - 1) / seconds:F1} tokens/s") : "";
        string pictures = usage.ImageTokens > 0 ? $" ({usage.ImageTokens} of pictures)" : "";
        string guesses = usage.GuessedTokens == 0 ? "" : string.Create(CultureInfo.InvariantCulture,
            $", {usage.AcceptedTokens} of {usage.GuessedTokens} guessed tokens were right");
        return string.Create(CultureInfo.InvariantCulture,
            $"{usage.PromptTokens} prompt tokens{pictures}, first token after {usage.TimeToFirstToken.TotalSeconds:F2} s, {usage.CompletionTokens} tokens written{speed}{guesses}");
    }

    /// <summary>Text without control characters, but for line breaks and tabs.</summary>
    internal static string Printable(string text)
    {
        if (!text.Any(IsControl))
            return text;
        var printable = new StringBuilder(text.Length);
        foreach (char character in text)
            printable.Append(IsControl(character) ? '\uFFFD' : character);
        return printable.ToString();

        static bool IsControl(char character) => char.IsControl(character) && character is not ('\n' or '\t');
    }

    private void Change(UpdateKind? kind)
    {
        if (_shown == UpdateKind.Thinking)
        {
            Undim();
            if (kind is not null)
                (_isTerminal ? console.Profile.Out.Writer : thinking)?.Write("\n\n");
            else if (!_isTerminal)
                thinking?.WriteLine();
        }

        if (kind == UpdateKind.Thinking && _dims)
            console.Write(new ControlCode("\u001b[2m"));
        _shown = kind;
    }
}
