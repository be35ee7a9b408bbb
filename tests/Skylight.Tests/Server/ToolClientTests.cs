using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text.Json;
using Microsoft.Agents.AI;
using Microsoft.Extensions.AI;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Responses;
using Skylight.Chat;
using Skylight.Extensions.AI;
using Skylight.Tests.Chat;
using Skylight.Tests.Extensions;
using ChatFinishReason = OpenAI.Chat.ChatFinishReason;
using ChatMessage = OpenAI.Chat.ChatMessage;

namespace Skylight.Tests.Server;

#pragma warning disable OPENAI001 // The client calls responses experimental.

/// <summary>
/// Real clients and a model whose weights call a tool: OpenAI's chat and responses, Extensions.AI over both of them and in
/// the process, and an agent of Microsoft.Agents.AI.
/// </summary>
public sealed class ToolClientTests(ToolClientTests.Shared shared) : IClassFixture<ToolClientTests.Shared>
{
    private const string Schema = """
        {"type": "object", "properties": {"side": {"enum": ["left", "right"]}}, "required": ["side"], "additionalProperties": false}
        """;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task OpenAIs_chat_client_calls_tools_whole_and_streamed()
    {
        ChatClient client = Client().GetChatClient("scripted");
        var options = new ChatCompletionOptions
        {
            Temperature = 0,
            MaxOutputTokenCount = 60,
            Tools = { ChatTool.CreateFunctionTool("camera", "Takes a picture.", BinaryData.FromString(Schema)) },
        };
        List<ChatMessage> messages = [new UserChatMessage("What is before the camera?")];
        ChatCompletion asked = await client.CompleteChatAsync(messages, options, Cancellation);
        Assert.Equal(ChatFinishReason.ToolCalls, asked.FinishReason);
        ChatToolCall call = Assert.Single(asked.ToolCalls);
        Assert.Equal("camera", call.FunctionName);
        Assert.Contains(JsonDocument.Parse(call.FunctionArguments).RootElement.GetProperty("side").GetString(), (string[])["left", "right"]);
        string name = "", arguments = "";
        ChatFinishReason? reason = null;
        await foreach (StreamingChatCompletionUpdate update in client.CompleteChatStreamingAsync(messages, options, Cancellation))
        {
            foreach (StreamingChatToolCallUpdate piece in update.ToolCallUpdates)
            {
                Assert.Equal(0, piece.Index);
                name += piece.FunctionName;
                arguments += piece.FunctionArgumentsUpdate?.ToString();
            }

            reason ??= update.FinishReason;
        }

        Assert.Equal((call.FunctionName, call.FunctionArguments.ToString(), ChatFinishReason.ToolCalls),
            (name, arguments, reason));
        messages.AddRange([new AssistantChatMessage(asked), new ToolChatMessage(call.Id, "A cat.")]);
        ChatCompletion answered = await client.CompleteChatAsync(messages, options, Cancellation);
        Assert.Equal(ScriptedToolModel.Answer, answered.Content[0].Text);
        // Not told of it, it cannot call it.
        options.ToolChoice = ChatToolChoice.CreateNoneChoice();
        asked = await client.CompleteChatAsync([new UserChatMessage("What is before the camera?")], options, Cancellation);
        Assert.Empty(asked.ToolCalls);
    }

    [Fact]
    public async Task OpenAIs_responses_client_calls_tools_goes_on_and_streams()
    {
        ResponsesClient client = Responses();
        CreateResponseOptions Options(params ResponseItem[] input)
        {
            var options = new CreateResponseOptions("scripted", input)
            {
                Temperature = 0,
                MaxOutputTokenCount = 60,
                Instructions = "Be brief.",
            };
            options.Tools.Add(ResponseTool.CreateFunctionTool("camera", BinaryData.FromString(Schema), true, "Takes a picture."));
            options.Metadata["of"] = "tests";
            return options;
        }

        ResponseResult asked = await client.CreateResponseAsync(Options(ResponseItem.CreateUserMessageItem(
            [ResponseContentPart.CreateInputTextPart("What is this?"), ResponseContentPart.CreateInputImagePart(
                new BinaryData(ExtensionModel.Png(200, 10, 10), "image/png"), ResponseImageDetailLevel.Low)])), Cancellation);
        Assert.Equal((ResponseStatus.Completed, "scripted", "tests"), (asked.Status, asked.Model, asked.Metadata["of"]));
        FunctionCallResponseItem call = Assert.IsType<FunctionCallResponseItem>(Assert.Single(asked.OutputItems));
        Assert.Equal("camera", call.FunctionName);
        Assert.Equal(asked.Usage.TotalTokenCount, asked.Usage.InputTokenCount + asked.Usage.OutputTokenCount);
        Assert.Equal(asked.Id, (await client.GetResponseAsync(asked.Id, Cancellation)).Value.Id);

        CreateResponseOptions next = Options(ResponseItem.CreateFunctionCallOutputItem(call.CallId, "A cat."));
        (next.PreviousResponseId, next.StreamingEnabled) = (asked.Id, true);
        string text = "";
        ResponseResult? answered = null;
        List<int> numbers = [];
        await foreach (StreamingResponseUpdate update in client.CreateResponseStreamingAsync(next, Cancellation))
        {
            numbers.Add(update.SequenceNumber);
            text += (update as StreamingResponseOutputTextDeltaUpdate)?.Delta;
            answered = (update as StreamingResponseCompletedUpdate)?.Response ?? answered;
        }

        Assert.Equal(ScriptedToolModel.Answer, text);
        Assert.Equal((text, asked.Id), (answered!.GetOutputText(), answered.PreviousResponseId));
        Assert.Equal(Enumerable.Range(0, numbers.Count), numbers);
        string arguments = "";
        CreateResponseOptions again = Options(ResponseItem.CreateUserMessageItem("Look."));
        again.StreamingEnabled = true;
        await foreach (StreamingResponseUpdate update in client.CreateResponseStreamingAsync(again, Cancellation))
            arguments += (update as StreamingResponseFunctionCallArgumentsDeltaUpdate)?.Delta.ToString();
        Assert.Contains(JsonDocument.Parse(arguments).RootElement.GetProperty("side").GetString(), (string[])["left", "right"]);

        Assert.True((await client.DeleteResponseAsync(asked.Id, Cancellation)).Value.Deleted);
        ClientResultException gone = await Assert.ThrowsAsync<ClientResultException>(
            () => client.GetResponseAsync(asked.Id, Cancellation));
        Assert.Equal(404, gone.Status);
        CreateResponseOptions background = Options(ResponseItem.CreateUserMessageItem("Look."));
        background.BackgroundModeEnabled = true;
        gone = await Assert.ThrowsAsync<ClientResultException>(() => client.CreateResponseAsync(background, Cancellation));
        Assert.Equal(400, gone.Status);
        Assert.Contains("'background'", gone.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OpenAIs_responses_client_gets_a_form()
    {
        CreateResponseOptions options = new("scripted", [ResponseItem.CreateUserMessageItem("Which side?")])
        {
            MaxOutputTokenCount = 60,
            TextOptions = new ResponseTextOptions
            {
                TextFormat = ResponseTextFormat.CreateJsonSchemaFormat("side", BinaryData.FromString(Schema), "A side.", true),
            },
        };
        ResponseResult answer = await Responses().CreateResponseAsync(options, Cancellation);
        Assert.Single(JsonDocument.Parse(answer.GetOutputText()).RootElement.EnumerateObject());
    }

    [Theory]
    [InlineData("in the process")]
    [InlineData("over chat completions")]
    [InlineData("over responses")]
    public async Task Extensions_AI_invokes_functions(string way)
    {
        int calls = 0;
        using IChatClient client = Way(way).AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions
        {
            Tools = [Camera(() => calls++)],
            Temperature = 0,
            MaxOutputTokens = 60,
        };
        ChatResponse response = await client.GetResponseAsync("What is before the camera?", options, Cancellation);
        Assert.Equal(1, calls);
        Assert.Equal(ScriptedToolModel.Answer, response.Text);
        var updates = new List<ChatResponseUpdate>();
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync("What is before the camera?", options, Cancellation))
            updates.Add(update);
        Assert.Equal(2, calls);
        Assert.Equal(ScriptedToolModel.Answer, updates.ToChatResponse().Text);
    }

    [Theory]
    [InlineData("in the process")]
    [InlineData("over chat completions")]
    [InlineData("over responses")]
    public async Task An_agent_calls_its_tools_and_keeps_the_conversation(string way)
    {
        int calls = 0;
        AIAgent agent = new ChatClientAgent(Way(way), new ChatClientAgentOptions
        {
            Name = "Observer",
            ChatOptions = new ChatOptions
            {
                Instructions = "Look before you speak.",
                Tools = [Camera(() => calls++)],
                Temperature = 0,
                MaxOutputTokens = 60,
            },
        });
        AgentSession session = await agent.CreateSessionAsync(Cancellation);
        AgentResponse first = await agent.RunAsync("What is before the camera?", session, cancellationToken: Cancellation);
        Assert.Equal((1, ScriptedToolModel.Answer), (calls, first.Text));
        Assert.Contains(first.Messages.SelectMany(message => message.Contents), content => content is FunctionCallContent { Name: "camera" });
        // The session has the result: the model need not look again.
        string second = "";
        await foreach (AgentResponseUpdate update in agent.RunStreamingAsync("And now?", session, cancellationToken: Cancellation))
            second += update.Text;
        Assert.Equal((1, ScriptedToolModel.Answer), (calls, second));
    }

    private static AIFunction Camera(Action taken) => AIFunctionFactory.Create((bool isZoomed) =>
    {
        taken();
        return "A cat.";
    }, "camera", "Takes a picture.");

    private IChatClient Way(string way) => way switch
    {
        "in the process" => new SkylightChatClient(shared.Served.Model),
        "over chat completions" => Client().GetChatClient("scripted").AsIChatClient(),
        _ => Responses().AsIChatClient("scripted"),
    };

    private OpenAIClient Client() => new(new ApiKeyCredential("none"), new OpenAIClientOptions
    {
        Endpoint = new Uri(shared.Served.Address, "v1"),
        RetryPolicy = new ClientRetryPolicy(0),
    });

    private ResponsesClient Responses() => new(new ApiKeyCredential("none"), new ResponsesClientOptions
    {
        Endpoint = new Uri(shared.Served.Address, "v1"),
        RetryPolicy = new ClientRetryPolicy(0),
    });

    /// <summary>One server for all.</summary>
    public sealed class Shared : IAsyncLifetime
    {
        internal ServedModel Served { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Served = await ServedModel.StartAsync(model: ScriptedToolModel.Create());

        public ValueTask DisposeAsync() => Served.DisposeAsync();
    }
}
