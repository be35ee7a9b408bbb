using System.ClientModel;
using System.ClientModel.Primitives;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Models;
using Skylight.Chat;
using Skylight.Server;

namespace Skylight.Tests.Server;

/// <summary>The real OpenAI client of .NET.</summary>
public sealed class OpenAiClientTests
{
    private const string Key = "test-key";

    [Fact]
    public async Task Answers_whole_and_streamed_are_read()
    {
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { ApiKeys = [Key] });
        ChatClient client = Client(served);
        var options = new ChatCompletionOptions
        {
            Temperature = 1,
            MaxOutputTokenCount = 10,
            IncludeLogProbabilities = true,
        };
#pragma warning disable OPENAI001 // Seeds are experimental in this client.
        options.Seed = 11;
#pragma warning restore OPENAI001
        OpenAI.Chat.ChatMessage[] messages = [new SystemChatMessage("Be brief."), new UserChatMessage("Tell me a story.")];
        OpenAI.Chat.ChatCompletion answer = await client.CompleteChatAsync(messages, options);
        string text = answer.Content[0].Text;
        Assert.NotEmpty(text);
        Assert.Equal(ChatMessageRole.Assistant, answer.Role);
        Assert.Equal("tiny", answer.Model);
        Assert.Equal(answer.FinishReason == OpenAI.Chat.ChatFinishReason.Length ? 10 : answer.Usage.OutputTokenCount,
            answer.Usage.OutputTokenCount);
        Assert.Equal(answer.Usage.InputTokenCount + answer.Usage.OutputTokenCount, answer.Usage.TotalTokenCount);
        Assert.Equal(0, answer.Usage.OutputTokenDetails.ReasoningTokenCount);
        Assert.Equal(text, string.Concat(answer.ContentTokenLogProbabilities.Select(token => token.Token)));

        var streamed = new System.Text.StringBuilder();
        ChatTokenUsage? usage = null;
        OpenAI.Chat.ChatFinishReason? reason = null;
        await foreach (StreamingChatCompletionUpdate update in client.CompleteChatStreamingAsync(messages, options))
        {
            foreach (ChatMessageContentPart part in update.ContentUpdate)
                streamed.Append(part.Text);
            usage ??= update.Usage;
            reason ??= update.FinishReason;
        }

        Assert.Equal(text, streamed.ToString());
        Assert.Equal(answer.FinishReason, reason);
        Assert.Equal(answer.Usage.TotalTokenCount, usage!.TotalTokenCount);
    }

    [Fact]
    public async Task A_picture_changes_the_answer()
    {
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { ApiKeys = [Key] });
        ChatClient client = Client(served);
        var options = new ChatCompletionOptions { Temperature = 1, MaxOutputTokenCount = 10 };
#pragma warning disable OPENAI001 // Seeds are experimental in this client.
        options.Seed = 11;
#pragma warning restore OPENAI001
        var answers = new List<string>();
        foreach (string sample in new[] { "cat.png", "bar-chart-wide.png" })
        {
            BinaryData picture = BinaryData.FromBytes(await File.ReadAllBytesAsync(
                Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", sample)));
            OpenAI.Chat.ChatCompletion answer = await client.CompleteChatAsync(
                [new UserChatMessage(ChatMessageContentPart.CreateImagePart(picture, "image/png",
                    ChatImageDetailLevel.Low), ChatMessageContentPart.CreateTextPart("What is this?"))], options);
            Assert.InRange(answer.Usage.InputTokenCount, 257, 400);
            answers.Add(answer.Content.Count > 0 ? answer.Content[0].Text : "");
        }

        Assert.NotEqual(answers[0], answers[1]);
    }

    [Fact]
    public async Task Errors_become_exceptions_with_status_and_message()
    {
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { ApiKeys = [Key] },
            new ChatModelOptions { CacheTokens = 8192, MaximumRequests = 1 });
        await Fails(401, "API key", () => Client(served, key: "wrong").CompleteChatAsync("Hi"));
        await Fails(404, "no model 'gpt-4o'", () => Client(served, "gpt-4o").CompleteChatAsync("Hi"));
        await Fails(400, "'temperature'", () => Client(served)
            .CompleteChatAsync([new UserChatMessage("Hi")], new ChatCompletionOptions { Temperature = -1 }));
        await Fails(400, "fetches nothing",
            () => Client(served).CompleteChatAsync(
                new UserChatMessage(ChatMessageContentPart.CreateImagePart(new Uri("https://example.com/cat.png")))));
        await Fails(400, "'tools[0].function.parameters'",
            () => Client(served).CompleteChatAsync([new UserChatMessage("Hi")],
                new ChatCompletionOptions
                {
                    Tools = { ChatTool.CreateFunctionTool("f", null, BinaryData.FromString("""{"type":"string"}""")) },
                }));
        OpenAIModelCollection models = await new OpenAIModelClient(new ApiKeyCredential(Key), Options(served))
            .GetModelsAsync();
        Assert.Equal("tiny", Assert.Single(models).Id);
    }

    [Fact]
    public async Task A_stream_that_is_left_frees_its_pages()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        await foreach (StreamingChatCompletionUpdate _ in Client(served)
            .CompleteChatStreamingAsync([new UserChatMessage("Hi")],
                new ChatCompletionOptions
                {
                    MaxOutputTokenCount = 7000,
                    LogitBiases = { [151645] = -100, [151643] = -100 },
                }))
            break;
        await served.BecomesIdleAsync();
    }

    [Fact]
    public async Task Likely_tokens_and_penalties_are_read()
    {
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { ApiKeys = [Key] });
        var options = new ChatCompletionOptions
        {
            Temperature = 0,
            MaxOutputTokenCount = 8,
            IncludeLogProbabilities = true,
            TopLogProbabilityCount = 5,
            FrequencyPenalty = 2,
            PresencePenalty = 1,
            LogitBiases = { [151645] = -100, [151643] = -100 },
        };
        OpenAI.Chat.ChatCompletion answer = await Client(served).CompleteChatAsync([new UserChatMessage("Hi")], options);
        Assert.Equal(8, answer.ContentTokenLogProbabilities.Count);
        Assert.All(answer.ContentTokenLogProbabilities, token =>
        {
            Assert.Equal(5, token.TopLogProbabilities.Count);
            // Greedy: the token is the likeliest.
            Assert.Equal((token.Token, token.LogProbability),
                (token.TopLogProbabilities[0].Token, token.TopLogProbabilities[0].LogProbability));
        });
    }

    private static async Task Fails(int status, string expected, Func<Task> action)
    {
        ClientResultException exception = await Assert.ThrowsAsync<ClientResultException>(action);
        Assert.Equal(status, exception.Status);
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
    }

    private static ChatClient Client(ServedModel served, string model = "tiny", string key = Key) =>
        new(model, new ApiKeyCredential(key), Options(served));

    private static OpenAIClientOptions Options(ServedModel served) =>
        new() { Endpoint = new Uri(served.Address, "v1"), RetryPolicy = new ClientRetryPolicy(0) };
}
