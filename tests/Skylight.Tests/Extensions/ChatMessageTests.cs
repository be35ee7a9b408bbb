using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Extensions.AI;
using Skylight.Images;
using ChatRole = Microsoft.Extensions.AI.ChatRole;
using ModelRole = Skylight.Text.ChatRole;

namespace Skylight.Tests.Extensions;

/// <summary>Every content is either used or refused.</summary>
public class ChatMessageTests
{
    private static readonly byte[] _png = ExtensionModel.Png(200, 100, 50);

    [Fact]
    public async Task Text_and_pictures_keep_their_order()
    {
        List<Message> read = await Read(
            new ChatMessage(ChatRole.System, "be brief"),
            new ChatMessage(ChatRole.User,
                [new TextContent("first "), new DataContent(_png, "image/png"), new TextContent("then"),
                    new UriContent(DataUri, "image/png")]),
            new ChatMessage(ChatRole.Assistant,
                [new TextReasoningContent("hm"), new TextContent("yes"), new UsageContent()]),
            new ChatMessage(ChatRole.User,
                [new RgbImageContent(new RgbImage(1, 1, [1, 2, 3])), new TextContent("and this?")]));
        Assert.Equal([ModelRole.System, ModelRole.User, ModelRole.Assistant, ModelRole.User],
            read.Select(message => message.Role));
        Assert.Equal([typeof(TextPart), typeof(ImagePart), typeof(TextPart), typeof(ImagePart)],
            read[1].Parts.Select(part => part.GetType()));
        Assert.Equal([new TextPart("yes")], read[2].Parts);
        Assert.IsType<ImagePart>(read[3].Parts[0]);
    }

    [Fact]
    public async Task Thinking_of_earlier_answers_is_kept_only_for_a_model_that_reads_it()
    {
        ChatMessage message = new(ChatRole.Assistant, [new TextReasoningContent("hm"), new TextContent("yes")]);
        List<Message> kept = await ChatMessageReader.ReadAsync([message, new(ChatRole.User, "more")], null,
            keepsThinking: true, null, default);
        Assert.Equal("<think>\nhm\n</think>\n\nyes",
            string.Concat(kept[0].Parts.Cast<TextPart>().Select(part => part.Text)));
    }

    [Fact]
    public async Task Instructions_come_before_the_system_message_in_one_turn()
    {
        List<Message> joined = await ChatMessageReader.ReadAsync([new(ChatRole.System, "b"), new(ChatRole.User, "c")],
            "a", false, null, default);
        Assert.Equal(["a\n\nb", "c"],
            joined.Select(message => string.Concat(message.Parts.Cast<TextPart>().Select(part => part.Text))));
        List<Message> added = await ChatMessageReader.ReadAsync([new(ChatRole.User, "c")], "a", false, null, default);
        Assert.Equal([ModelRole.System, ModelRole.User], added.Select(message => message.Role));
    }

    public static TheoryData<string, string, AIContent> Refused => new()
    {
        { "user", "a FunctionCallContent", new FunctionCallContent("1", "look") },
        { "user", "a FunctionResultContent", new FunctionResultContent("1", "seen") },
        { "user", "a ErrorContent", new ErrorContent("bad") },
        { "user", "a HostedFileContent", new HostedFileContent("file") },
        { "user", "a TextReasoningContent", new TextReasoningContent("hm") },
        { "system", "a TextReasoningContent", new TextReasoningContent("hm") },
        { "user", "a UsageContent", new UsageContent() },
        { "user", "a NewContent", new NewContent() },
        { "user", "a DataContent of type 'audio/wav'", new DataContent(new byte[] { 1 }, "audio/wav") },
        { "user", "a UriContent of type 'application/pdf'", new UriContent("https://example.com/a.pdf", "application/pdf") },
        { "user", "'https://example.com/a.png'. The client fetches nothing",
            new UriContent("https://example.com/a.png?token=secret", "image/png") },
        { "user", "The client fetches nothing", new UriContent("file:///etc/hostname", "image/png") },
        { "assistant", "pictures from the user and from tools only", new DataContent(_png, "image/png") },
        { "system", "pictures from the user and from tools only", new UriContent(DataUri, "image/png") },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task What_cannot_be_read_is_refused_by_name(string role, string message, AIContent content)
    {
        NotSupportedException refused = await Assert.ThrowsAsync<NotSupportedException>(
            () => Read(new ChatMessage(new ChatRole(role), [new TextContent("x"), content])));
        Assert.Contains(message, refused.Message, StringComparison.Ordinal);
        Assert.Contains($"Message 0, from the {role}", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("developer", "has the role 'developer'; the model knows system, user, assistant and tool")]
    [InlineData("tool", "holds a TextContent; what tools give is a FunctionResultContent")]
    public async Task An_unknown_role_and_text_of_a_tool_that_answers_no_call_are_refused(string role, string expected) =>
        Assert.Contains(expected,
            (await Assert.ThrowsAsync<NotSupportedException>(() => Read(new ChatMessage(new ChatRole(role), "x"))))
                .Message, StringComparison.Ordinal);

    [Fact]
    public async Task Nothing_and_nulls_are_refused()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => Read());
        await Assert.ThrowsAsync<ArgumentException>(() => Read([null!]));
        await Assert.ThrowsAsync<ArgumentException>(() => Read(new ChatMessage(ChatRole.User, [null!])));
    }

    [Fact]
    public async Task What_the_model_is_to_continue_keeps_its_thinking()
    {
        Assert.Equal("<think>\nhm", await Last(new TextReasoningContent("h"), new TextReasoningContent("m")));
        Assert.Equal("<think>\nhm\n</think>\n\nyes", await Last(new TextReasoningContent("hm"), new TextContent("yes")));
        Assert.Equal("yes", await Last(new TextContent("yes")));

        static async Task<string> Last(params AIContent[] contents) =>
            string.Concat(
                (await Read(new ChatMessage(ChatRole.User, "?"),
                    new ChatMessage(ChatRole.Assistant, contents)))[1].Parts.Cast<TextPart>().Select(part => part.Text));
    }

    [Theory]
    [InlineData("data:image/png;base64,_-8")]
    [InlineData("data:image/png;base64,%2F%2B8%3D")]
    [InlineData("data:image/png,%89PNG")]
    public async Task A_data_uri_may_be_urlsafe_and_without_padding(string uri) =>
        Assert.IsType<ImagePart>(
            (await Read(new ChatMessage(ChatRole.User, [new UriContent(uri, "image/png")])))[0].Parts.Single());

    [Theory]
    [InlineData("data:image/png;base64,@@@")]
    [InlineData("data:image/png;base64")]
    public async Task A_broken_data_uri_is_an_argument_error(string uri) =>
        await Assert.ThrowsAnyAsync<ArgumentException>(
            () => Read(new ChatMessage(ChatRole.User, [new UriContent(uri, "image/png")])));

    [Fact]
    public async Task A_resolver_of_the_host_fetches_pictures()
    {
        using var cancellation = new CancellationTokenSource();
        Uri? asked = null;
        ImageUriResolver resolver = (uri, cancellationToken) =>
        {
            Assert.Equal(cancellation.Token, cancellationToken);
            asked = uri;
            return ValueTask.FromResult<ReadOnlyMemory<byte>>(_png);
        };
        List<Message> read = await ChatMessageReader.ReadAsync(
            [new(ChatRole.User, [new UriContent("https://example.com/a.png", "image/*")])], null, false, resolver,
            cancellation.Token);
        Assert.Equal("https://example.com/a.png", asked!.AbsoluteUri);
        Assert.IsType<ImagePart>(read[0].Parts[0]);
    }

    private static string DataUri => "data:image/png;base64," + Convert.ToBase64String(_png);

    private static async Task<List<Message>> Read(params ChatMessage[] messages) =>
        await ChatMessageReader.ReadAsync(messages, null, keepsThinking: false, resolver: null, default);

    private sealed class NewContent : AIContent;
}
