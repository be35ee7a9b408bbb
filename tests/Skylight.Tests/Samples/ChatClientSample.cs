#region README: IChatClient
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Skylight.Extensions.AI;

public static class ChatClientSample
{
    public static void AddModel(IServiceCollection services, string checkpointDirectory) =>
        services.AddSkylight(options => options.ModelDirectory = checkpointDirectory).AddSkylightChatClient();

    public static async Task<string> DescribeAsync(IChatClient client, byte[] png, CancellationToken cancellationToken)
    {
        ChatMessage question = new(ChatRole.User,
            [new DataContent(png, "image/png"), new TextContent("What is in this picture?")]);
        var options = new ChatOptions
        {
            MaxOutputTokens = 100,
            Seed = 1,
            Reasoning = new() { Effort = ReasoningEffort.None },
        };
        ChatResponse response = await client.GetResponseAsync([question], options, cancellationToken);
        return $"{response.Text} ({response.FinishReason}, {response.Usage!.OutputTokenCount} tokens)";
    }
}
#endregion
