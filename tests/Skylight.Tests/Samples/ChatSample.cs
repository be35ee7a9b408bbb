#region README: chat
using Skylight.Chat;
using Skylight.Models;

public static class ChatSample
{
    public static async Task<string> AskAsync(string checkpointDirectory, string photograph, string question, CancellationToken cancellationToken)
    {
        // One model for the whole program: requests of any number of threads are batched continuously.
        await using ChatModel model = await VisionLanguageModel.LoadAsync(checkpointDirectory, cancellationToken: cancellationToken);

        Message[] messages = [Message.User(question, ImagePart.FromFile(photograph))];
        var options = new GenerationOptions { Temperature = 0.6f, TopP = 0.95f, MaxNewTokens = 64 };
        string answer = "";
        await foreach (GenerationUpdate update in model.GenerateAsync(messages, options, cancellationToken))
        {
            if (update.Kind == UpdateKind.Answer)
                answer += update.Text;
        }

        return answer;
    }
}
#endregion
