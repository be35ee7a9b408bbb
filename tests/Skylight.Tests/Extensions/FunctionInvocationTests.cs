using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Extensions.AI;

namespace Skylight.Tests.Extensions;

/// <summary>Functions of a host, called by a model through <see cref="IChatClient"/>.</summary>
public sealed class FunctionInvocationTests : IDisposable
{
    private readonly SkylightChatClient _client =
        new(ExtensionModel.Create("tools"), new SkylightChatClientOptions { OwnsModel = true });

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _client.Dispose();

    [Fact]
    public async Task A_function_is_called_and_the_model_reads_its_picture()
    {
        int calls = 0;
        AIFunction camera = AIFunctionFactory.Create(IEnumerable<AIContent> (bool isZoomed) =>
        {
            calls++;
            return [new TextContent("Here."), new DataContent(ExtensionModel.Png(200, 10, 10), "image/png")];
        }, "camera", "Takes a picture.");
        using IChatClient invoking = _client.AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions
        {
            Tools = [camera],
            ToolMode = ChatToolMode.RequireSpecific("camera"),
            AllowMultipleToolCalls = false,
            MaxOutputTokens = 60,
            Temperature = 1,
            Seed = 3,
        };
        ChatResponse response = await invoking.GetResponseAsync("What is before the camera?", options, Cancellation);
        Assert.Equal(1, calls);
        FunctionCallContent call = Assert.Single(
            response.Messages.SelectMany(message => message.Contents).OfType<FunctionCallContent>());
        Assert.Equal("camera", call.Name);
        Assert.True(call.Arguments!.ContainsKey("isZoomed"));
        // Of both requests: the second had the picture.
        Assert.True(
            response.Usage!.AdditionalCounts![SkylightChatClient.ImageTokenCount] >= ExtensionModel.TokensPerTile);
    }

    [Fact]
    public async Task Calls_come_once_they_are_complete()
    {
        var options = new ChatOptions
        {
            Tools = [AIFunctionFactory.Create((bool isOn) => isOn, "light")],
            ToolMode = ChatToolMode.RequireAny,
            AllowMultipleToolCalls = false,
            MaxOutputTokens = 60,
            Seed = 1,
        };
        List<ChatResponseUpdate> updates = [];
        await foreach (ChatResponseUpdate update in _client.GetStreamingResponseAsync("Light!", options, Cancellation))
            updates.Add(update);
        Assert.Single(updates.SelectMany(update => update.Contents).OfType<FunctionCallContent>());
        Assert.Equal(ChatFinishReason.ToolCalls, updates.Last(update => update.FinishReason is not null).FinishReason);
        options.MaxOutputTokens = 4;
        ChatResponse cut = await _client.GetResponseAsync("Light!", options, Cancellation);
        Assert.Equal(ChatFinishReason.Length, cut.FinishReason);
        Assert.Empty(cut.Messages.SelectMany(message => message.Contents).OfType<FunctionCallContent>());
    }
}
