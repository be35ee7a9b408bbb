using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Chat;
using Skylight.Generation;
using Spectre.Console;

namespace Skylight.Cli.Chat;

/// <summary><c>skylight generate</c>: one question, one answer.</summary>
internal static class GenerateCommand
{
    public static Command Create()
    {
        var model = new ModelSelection();
        var settings = new AnswerSettings();
        var prompt = new Option<string>("--prompt")
        {
            Description = "The question; - reads it from standard input.",
            Required = true,
        };
        var images =
            new Option<string[]>("--image")
            {
                Description =
                    "A picture to look at (PNG, JPEG, WebP, GIF, BMP, TIFF, TGA, PNM), before the question. May be " +
                    "given several times.",
            };
        var prefill =
            new Option<string?>("--prefill")
            {
                Description =
                    "What the answer begins with (its thinking, where the model thinks); the model goes on there. It " +
                    "is not printed.",
            };
        var json = new Option<bool>("--json")
        {
            Description = "Print the answer, its thinking and what it took as one JSON object at the end.",
        };
        var command = new Command("generate",
            "Ask a model one question, with or without pictures. The answer is streamed.") { prompt, images, prefill, json };
        model.AddTo(command);
        settings.AddTo(command);
        command.SetAction(async (parse, cancellationToken) =>
        {
            string[] files = parse.GetValue(images) ?? [];
            // What is not there should not wait for gigabytes of weights.
            foreach (string file in files.Where(file => !File.Exists(file)))
                throw new FileNotFoundException($"There is no picture '{file}'.", file);
            string question = parse.GetRequiredValue(prompt);
            if (question == "-")
                question = await StandardInput.ReadAsync(cancellationToken);
            if (string.IsNullOrWhiteSpace(question) && files.Length == 0)
                throw new ArgumentException(
                    "The question is empty: say something with --prompt, or name a picture with --image.");
            GenerationOptions options = settings.Options(parse);
            List<Message> messages = [Message.User(question, [.. files.Select(ImagePart.FromFile)])];
            if (settings.System(parse) is { } system)
                messages.Insert(0, Message.System(system));
            if (parse.GetValue(prefill) is { } begun)
                messages.Add(Message.Assistant(begun));
            await using ChatModel loaded = await model.LoadAsync(parse, null, cancellationToken);
            if (parse.GetValue(json))
                Console.WriteLine(await AnswerAsync(loaded, messages, options, cancellationToken));
            else
                await StreamAsync(loaded, messages, options, cancellationToken);
            return 0;
        });
        return command;
    }

    private static async Task<string> AnswerAsync(ChatModel model, List<Message> messages, GenerationOptions options,
        CancellationToken cancellationToken)
    {
        ChatAnswer answer = await model.CompleteAsync(messages, options, cancellationToken);
        Usage usage = answer.Usage;
        return JsonSerializer.Serialize(
            new GenerateResult(
                model.Name, answer.Thinking, answer.Answer, answer.FinishReason, usage.PromptTokens, usage.ImageTokens,
                usage.CompletionTokens, usage.ThinkingTokens,
                usage.TimeToFirstToken.TotalSeconds, usage.Duration.TotalSeconds),
            GenerateJson.Readable.GenerateResult);
    }

    private static async Task StreamAsync(ChatModel model, List<Message> messages, GenerationOptions options,
        CancellationToken cancellationToken)
    {
        var printer = new AnswerPrinter(AnsiConsole.Console, Console.Error);
        try
        {
            await foreach (GenerationUpdate update in model.GenerateAsync(messages, options, cancellationToken))
            {
                printer.Show(update);
                if (update.Usage is not { } usage)
                    continue;
                printer.End();
                if (!Console.IsErrorRedirected)
                    await Console.Error.WriteLineAsync(
                        $"{AnswerPrinter.Describe(usage)}{(update.FinishReason == FinishReason.Length ? AnswerPrinter.CutOff : "")}");
            }
        }
        finally
        {
            printer.Undim();
        }
    }
}

/// <summary>What <c>skylight generate --json</c> prints.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Thinking">The think block; empty if there is none.</param>
/// <param name="Answer">What is meant for the reader.</param>
/// <param name="End">Why it ended.</param>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="ImageTokens">Those of pictures.</param>
/// <param name="CompletionTokens">Tokens written.</param>
/// <param name="ThinkingTokens">Those of the think block.</param>
/// <param name="SecondsToFirstToken">From the question to the first token.</param>
/// <param name="Seconds">From the question to the end.</param>
internal sealed record GenerateResult(
    string Model, string Thinking, string Answer, FinishReason End, int PromptTokens, int ImageTokens,
    int CompletionTokens, int ThinkingTokens, double SecondsToFirstToken, double Seconds);

/// <summary>How it is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true)]
[JsonSerializable(typeof(GenerateResult))]
internal sealed partial class GenerateJson : JsonSerializerContext
{
    /// <summary>With all characters as they are: it is read by programs and people, not put into a page.</summary>
    public static GenerateJson Readable =>
        field ??= new(new JsonSerializerOptions(Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}
