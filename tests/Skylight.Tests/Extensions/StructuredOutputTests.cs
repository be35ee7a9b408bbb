using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Constraints;
using Skylight.Extensions.AI;

namespace Skylight.Tests.Extensions;

/// <summary>Answers of a form through <see cref="IChatClient"/>: objects come as objects.</summary>
public sealed class StructuredOutputTests : IDisposable
{
    private static readonly ChatOptions s_options = new() { MaxOutputTokens = 400, Temperature = 1, Seed = 3 };

    private readonly SkylightChatClient _client =
        new(ExtensionModel.Create("structured"), new SkylightChatClientOptions { OwnsModel = true });

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    internal enum Colour
    {
        Red,
        Green,
        Blue,
    }

    internal sealed record Point([property: Range(-9, 9)] int X, [property: Range(-9, 9)] int Y);

    internal sealed record Shape([property: MaxLength(12)] string Name, Colour Colour, bool IsFilled,
        [property: Range(0, 99)] int? Order, [property: MaxLength(3)] Point[] Points);

    public void Dispose() => _client.Dispose();

    [Fact]
    public async Task A_type_is_what_comes()
    {
        for (int seed = 0; seed < 4; seed++)
        {
            ChatOptions options = s_options.Clone();
            options.Seed = seed;
            ChatResponse<Shape> response = await _client.GetResponseAsync<Shape>("What shape is this?", options,
                cancellationToken: Cancellation);
            Assert.Equal(ChatFinishReason.Stop, response.FinishReason);
            Assert.True(response.TryGetResult(out Shape? shape), response.Text);
            Assert.InRange(shape!.Name.Length, 0, 12);
            Assert.InRange(shape.Points.Length, 0, 3);
            Assert.All(shape.Points, point => Assert.InRange(point.X, -9, 9));
        }
    }

    [Fact]
    public async Task Values_that_are_no_objects_are_wrapped_and_read()
    {
        Assert.True((await _client.GetResponseAsync<Colour>("Which?", s_options, cancellationToken: Cancellation))
            .TryGetResult(out Colour colour) && Enum.IsDefined(colour));
        Assert.True((await _client.GetResponseAsync<bool>("Is it?", s_options, cancellationToken: Cancellation))
            .TryGetResult(out bool _));
        ChatResponse<Colour[]> several = await _client.GetResponseAsync<Colour[]>("Which?", s_options,
            cancellationToken: Cancellation);
        Assert.True(several.FinishReason == ChatFinishReason.Length || several.TryGetResult(out Colour[]? _), several.Text);
    }

    [Fact]
    public async Task Thinking_comes_first_and_is_free()
    {
        using ChatModel model = ExtensionModel.Create("thinking", new ExtensionModel.ThinkEndingTokenizer());
        using var client = new SkylightChatClient(model);
        ChatOptions options = s_options.Clone();
        options.Reasoning = new ReasoningOptions { Effort = ReasoningEffort.High };
        options.RawRepresentationFactory = _ => new GenerationOptions { Constraint = Constraint.Choice("yes", "no") };
        int thought = 0;
        for (int seed = 0; seed < 4; seed++)
        {
            options.Seed = seed;
            ChatResponse response = await client.GetResponseAsync("Is it?", options, Cancellation);
            if (response.FinishReason == ChatFinishReason.Length)
                continue;
            Assert.Contains(response.Text, (string[])["yes", "no"]);
            thought += response.Messages[0].Contents.OfType<TextReasoningContent>()
                .Any(content => content.Text.Length > 0) ? 1 : 0;
        }

        Assert.True(thought > 0);
    }

    [Fact]
    public async Task Json_without_a_schema_is_an_object()
    {
        ChatOptions options = s_options.Clone();
        options.ResponseFormat = ChatResponseFormat.Json;
        options.MaxOutputTokens = 60;
        ChatResponse response = await _client.GetResponseAsync("x", options, Cancellation);
        Assert.StartsWith("{", response.Text, StringComparison.Ordinal);
        if (response.FinishReason == ChatFinishReason.Stop)
            Assert.Equal(JsonValueKind.Object, JsonDocument.Parse(response.Text).RootElement.ValueKind);
    }

    [Fact]
    public async Task An_answer_that_is_cut_off_says_so()
    {
        ChatOptions options = s_options.Clone();
        options.ResponseFormat = ChatResponseFormat.ForJsonSchema(
            JsonDocument.Parse("""{"type": "string", "minLength": 500}""").RootElement);
        options.MaxOutputTokens = 5;
        ChatResponse response = await _client.GetResponseAsync("x", options, Cancellation);
        Assert.Equal(ChatFinishReason.Length, response.FinishReason);
        Assert.StartsWith("\"", response.Text, StringComparison.Ordinal);
    }
}
