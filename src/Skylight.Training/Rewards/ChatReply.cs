using System.Text.Json;

namespace Skylight.Training.Rewards;

/// <summary>What an endpoint with OpenAI's chat completions sends back.</summary>
/// <param name="Text">What the model said.</param>
/// <param name="IsCutOff">Whether it reached the most tokens of a reply.</param>
/// <param name="PromptTokens">Tokens that it read; 0 if that is not said.</param>
/// <param name="CompletionTokens">Tokens that it wrote; 0 if that is not said.</param>
internal sealed record ChatReply(string Text, bool IsCutOff, long PromptTokens, long CompletionTokens)
{
    /// <summary>Reads a chat completion.</summary>
    /// <param name="content">The body of the response, JSON in UTF-8.</param>
    /// <exception cref="InvalidDataException">It is none.</exception>
    public static ChatReply Parse(ReadOnlyMemory<byte> content)
    {
        try
        {
            using JsonDocument document = JsonText.Parse(content);
            JsonElement root = document.RootElement, choice = root.GetProperty("choices")[0];
            string text = TextOf(choice.GetProperty("message").GetProperty("content"))
                ?? throw new InvalidDataException("There is no text in the chat completion.");
            string? end = choice.TryGetProperty("finish_reason", out JsonElement reason) ? TextOf(reason) : null;
            (long prompt, long completion) = (0, 0);
            if (root.TryGetProperty("usage", out JsonElement usage) && usage.ValueKind == JsonValueKind.Object)
                (prompt, completion) = (Number(usage, "prompt_tokens"), Number(usage, "completion_tokens"));
            return new ChatReply(text, end == "length", prompt, completion);
        }
        catch (Exception exception)
            when (exception is JsonException or KeyNotFoundException or InvalidOperationException
                or IndexOutOfRangeException)
        {
            throw new InvalidDataException("The body is no chat completion.", exception);
        }
    }

    /// <summary>The message of a refusal, as OpenAI and its like write it; null if there is none.</summary>
    public static string? ErrorOf(ReadOnlyMemory<byte> content)
    {
        try
        {
            using JsonDocument document = JsonText.Parse(content);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
                return null;
            if (root.TryGetProperty("error", out JsonElement error) && error.ValueKind == JsonValueKind.Object)
                root = error;
            else if (TextOf(error) is { } plain)
                return plain;
            return root.TryGetProperty("message", out JsonElement message) ? TextOf(message) : null;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // A proxy's page, or texts that are no Unicode.
            return null;
        }
    }

    private static string? TextOf(JsonElement element) => element.ValueKind == JsonValueKind.String
        ? element.GetString() : null;

    private static long Number(JsonElement usage, string name) =>
        usage.TryGetProperty(name, out JsonElement number) && number.ValueKind == JsonValueKind.Number
            && number.TryGetInt64(out long value) ? Math.Clamp(value, 0, int.MaxValue) : 0;
}
