#region README: chat
using Skylight.Chat;

public static class ChatSample
{
    public static async Task AskAsync(string checkpointDirectory, string picture, TextWriter output,
        CancellationToken cancellationToken)
    {
        await using ChatModel model = await ChatModel.LoadAsync(checkpointDirectory, cancellationToken: cancellationToken);

        Message[] messages = [Message.User("What is the area of the shaded part?", ImagePart.FromFile(picture))];
        var options = new GenerationOptions
        {
            Temperature = 0.6f,
            TopP = 0.95f,
            MaxOutputTokens = 100,
            Thinking = ThinkingMode.On,
            Seed = 1,
        };
        await foreach (GenerationUpdate update in model.GenerateAsync(messages, options, cancellationToken))
        {
            // The think block and the answer stream as they are written; update.Kind tells them apart.
            await output.WriteAsync(update.Text);
            if (update.Usage is { } usage)
                await output.WriteLineAsync(
                    $"\n[{update.FinishReason}: {usage.PromptTokens} tokens read, {usage.ImageTokens} of them for " +
                    $"the picture; {usage.CompletionTokens} written]");
        }
    }
}
#endregion
