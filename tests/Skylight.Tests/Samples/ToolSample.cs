#region README: tools
using System.Text.Json;
using Microsoft.Agents.AI;
using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Images;

public static class ToolSample
{
    // The model asks for a part of the picture, and sees it.
    public static async Task<string> LookCloserAsync(ChatModel model, RgbImage picture,
        Func<JsonElement, RgbImage> enlarge, CancellationToken cancellationToken)
    {
        var zoom = new ToolDefinition("zoom", "Enlarges a quarter of the picture.", """
            {"type": "object", "properties": {"quarter": {"enum": ["top left", "top right", "bottom left", "bottom right"]}},
             "required": ["quarter"], "additionalProperties": false}
            """);
        var options = new GenerationOptions { Tools = [zoom], MaxOutputTokens = 300 };
        List<Message> messages = [Message.User("What does the sign say?", ImagePart.FromRgb(picture))];
        for (int round = 0; round < 5; round++)
        {
            ChatAnswer answer = await model.CompleteAsync(messages, options, cancellationToken);
            if (answer.ToolCalls.Count == 0)
                return answer.Answer;
            messages.Add(Message.Assistant(answer.Answer, answer.ToolCalls));
            foreach (ToolCall call in answer.ToolCalls)
                messages.Add(Message.ToolResult(call.Id, "Enlarged:",
                    ImagePart.FromRgb(enlarge(JsonDocument.Parse(call.Arguments).RootElement))));
        }

        return "It looked five times and did not answer.";
    }

    // An agent of Microsoft.Agents.AI; the camera gives a picture.
    public static async Task<string> AskAgentAsync(IChatClient client, Func<byte[]> takePng,
        CancellationToken cancellationToken)
    {
        AIFunction camera = AIFunctionFactory.Create(() => new DataContent(takePng(), "image/png"), "camera",
            "Takes a picture.");
        AIAgent agent = new ChatClientAgent(client, instructions: "Look before you speak.", tools: [camera]);
        AgentResponse response = await agent.RunAsync("Is somebody at the door?", cancellationToken: cancellationToken);
        return response.Text;
    }
}
#endregion
