using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Images;
using Skylight.Text;
using ChatRole = Microsoft.Extensions.AI.ChatRole;

namespace Skylight.Extensions.AI;

/// <summary>Turns a host's messages into the model's. What is not used is refused; nothing vanishes.</summary>
internal static class ChatMessageReader
{
    private const string Supported =
        $"{nameof(TextContent)}, pictures as {nameof(DataContent)}, {nameof(UriContent)} or " +
        $"{nameof(RgbImageContent)} from the user and from tools, {nameof(TextReasoningContent)} and " +
        $"{nameof(FunctionCallContent)} of earlier answers, and {nameof(FunctionResultContent)} of tools";

    /// <summary>Reads a conversation.</summary>
    /// <param name="messages">The messages, oldest first.</param>
    /// <param name="instructions">What goes before the system message, if anything.</param>
    /// <param name="keepsThinking">Whether the model reads the thinking of its earlier answers.</param>
    /// <param name="resolver">Fetches pictures.</param>
    /// <param name="cancellationToken">Goes to the resolver.</param>
    /// <exception cref="NotSupportedException">A content or a role cannot be used; names it.</exception>
    /// <exception cref="ArgumentException">A content is broken; says how.</exception>
    public static async ValueTask<List<Message>> ReadAsync(
        IEnumerable<ChatMessage> messages, string? instructions, bool keepsThinking, ImageUriResolver? resolver,
        CancellationToken cancellationToken)
    {
        var read = new List<Message>();
        ChatMessage?[] conversation = [.. messages];
        for (int index = 0; index < conversation.Length; index++)
        {
            if (conversation[index] is not { } message)
                throw new ArgumentException($"Message {index} is null.", nameof(messages));
            if (message.Role == ChatRole.Tool)
            {
                await ReadResultsAsync(read, message, $"Message {index}, from the tool,", resolver, cancellationToken)
                    .ConfigureAwait(false);
                continue;
            }

            Text.ChatRole role = RoleOf(message.Role, index);
            var parts = new List<MessagePart>(message.Contents.Count);
            foreach (AIContent? content in message.Contents)
            {
                string place = $"Message {index}, from the {message.Role.Value},";
                if (await ReadAsync(content, role, place, keepsThinking, resolver, cancellationToken)
                    .ConfigureAwait(false) is { } part)
                    parts.Add(part);
            }

            // What the model is to continue is read whole, and its think block is open until there is an answer.
            if (role == Text.ChatRole.Assistant && index == conversation.Length - 1
                && ThinkingOf(message) is { Length: > 0 } thinking)
                parts = [.. parts.OfType<ToolCallPart>(), new TextPart(ChatTemplate.JoinThinking(thinking,
                    string.Concat(message.Contents.OfType<TextContent>().Select(text => text.Text)), closes: false))];
            read.Add(new Message(role, parts));
        }

        if (read.Count == 0)
            throw new ArgumentException("A conversation needs at least one message.", nameof(messages));
        // The family was trained on one system turn, so that the instructions join the one that is there.
        if (!string.IsNullOrEmpty(instructions))
        {
            if (read[0].Role == Text.ChatRole.System)
                read[0] = read[0] with { Parts = [new TextPart(instructions + "\n\n"), .. read[0].Parts] };
            else
                read.Insert(0, Message.System(instructions));
        }

        return read;
    }

    /// <summary>What tools gave: a message of the model's for each.</summary>
    private static async ValueTask ReadResultsAsync(List<Message> read, ChatMessage message, string place,
        ImageUriResolver? resolver, CancellationToken cancellationToken)
    {
        foreach (AIContent? content in message.Contents)
        {
            if (content is not FunctionResultContent result)
                throw content is null ? new ArgumentException($"{place} has a content that is null.")
                    : new NotSupportedException($"{place} holds {Describe(content)}; what tools give is a " +
                        $"{nameof(FunctionResultContent)}, and pictures are in its {nameof(FunctionResultContent.Result)}.");
            var parts = new List<MessagePart>();
            foreach (AIContent? given in ToolReader.ContentsOf(result, place))
            {
                if (await ReadAsync(given, Text.ChatRole.Tool, place, false, resolver, cancellationToken)
                    .ConfigureAwait(false) is { } part)
                    parts.Add(part);
            }

            read.Add(new Message(Text.ChatRole.Tool, parts) { ToolCallId = result.CallId });
        }
    }

    private static string ThinkingOf(ChatMessage message) =>
        string.Concat(message.Contents.OfType<TextReasoningContent>().Select(reasoning => reasoning.Text));

    private static Text.ChatRole RoleOf(ChatRole role, int index)
    {
        if (role == ChatRole.User)
            return Text.ChatRole.User;
        if (role == ChatRole.Assistant)
            return Text.ChatRole.Assistant;
        return role == ChatRole.System
            ? Text.ChatRole.System
            : throw new NotSupportedException(
                $"Message {index} has the role '{role.Value}'; the model knows system, user, assistant and tool.");
    }

    private static async ValueTask<MessagePart?> ReadAsync(
        AIContent? content, Text.ChatRole role, string place, bool keepsThinking, ImageUriResolver? resolver,
        CancellationToken cancellationToken)
    {
        switch (content)
        {
            case null:
                throw new ArgumentException($"{place} has a content that is null.");
            case TextContent text:
                return new TextPart(text.Text);
            case TextReasoningContent reasoning when role == Text.ChatRole.Assistant:
                return keepsThinking
                    ? new TextPart($"{SpecialTokens.ThinkStart}\n{reasoning.Text}\n{SpecialTokens.ThinkEnd}\n\n") : null;
            // What an earlier answer took is no part of what was said.
            case UsageContent when role == Text.ChatRole.Assistant:
                return null;
            case FunctionCallContent call when role == Text.ChatRole.Assistant:
                return ToolReader.Read(call);
            case DataContent or UriContent or RgbImageContent when role is not (Text.ChatRole.User or Text.ChatRole.Tool):
                throw new NotSupportedException(
                    $"{place} holds {Describe(content)}; the model takes pictures from the user and from tools only.");
            case RgbImageContent rgb:
                return ImagePart.FromRgb(rgb.Image);
            case DataContent data:
                return FromData(data, place);
            case UriContent uri:
                return await FromUriAsync(uri, place, resolver, cancellationToken).ConfigureAwait(false);
            default:
                throw new NotSupportedException(
                    $"{place} holds {Describe(content)}, which the model cannot read; it reads {Supported}.");
        }
    }

    private static ImagePart FromData(DataContent data, string place)
    {
        EnsureImage(data, data.HasTopLevelMediaType("image"), place);
        try
        {
            return ImagePart.FromBytes(data.Data);
        }
        catch (FormatException exception)
        {
            throw new ArgumentException(
                $"{place} holds {Describe(data)} whose data URI is not valid base64: {exception.Message}", exception);
        }
    }

    private static async ValueTask<ImagePart> FromUriAsync(UriContent content, string place, ImageUriResolver? resolver,
        CancellationToken cancellationToken)
    {
        if (content.Uri.IsAbsoluteUri && content.Uri.Scheme == "data")
        {
            return FromDataUri(content, place);
        }

        EnsureImage(content, content.HasTopLevelMediaType("image"), place);
        if (resolver is null)
        {
            throw new NotSupportedException(
                $"{place} holds {Describe(content)} that points to '{Shortened(content.Uri)}'. The client fetches " +
                $"nothing: send the picture's bytes as {nameof(DataContent)}, or set " +
                $"{nameof(SkylightChatClientOptions)}.{nameof(SkylightChatClientOptions.ImageUriResolver)}.");
        }

        return ImagePart.FromBytes(await resolver(content.Uri, cancellationToken).ConfigureAwait(false));
    }

    private static ImagePart FromDataUri(UriContent content, string place)
    {
        const string Encoding = ";base64";
        string uri = content.Uri.OriginalString;
        int comma = uri.IndexOf(',', StringComparison.Ordinal);
        string header = comma < 0 ? "" : uri["data:".Length..comma].Trim();
        byte[]? bytes = null;
        // The abstraction knows base64 with padding and in the standard alphabet only.
        if (header.EndsWith(Encoding, StringComparison.OrdinalIgnoreCase)
            && !ImageBase64.TryDecode(Uri.UnescapeDataString(uri[(comma + 1)..]), out bytes))
            throw new ArgumentException($"{place} holds {Describe(content)} whose data URI is not valid base64.");
        try
        {
            return FromData(bytes is null ? new DataContent(content.Uri)
                : new DataContent(bytes, header[..^Encoding.Length]), place);
        }
        catch (Exception exception) when (exception is ArgumentException or FormatException)
        {
            throw new ArgumentException(
                $"{place} holds {Describe(content)} whose data URI cannot be read: {exception.Message}", exception);
        }
    }

    private static void EnsureImage(AIContent content, bool isImage, string place)
    {
        if (!isImage)
            throw new NotSupportedException(
                $"{place} holds {Describe(content)}, which the model cannot read. Of files it reads pictures, with a " +
                $"media type such as image/png.");
    }

    private static string Describe(AIContent content) => content switch
    {
        DataContent data => $"a {nameof(DataContent)} of type '{data.MediaType}'",
        UriContent uri => $"a {nameof(UriContent)} of type '{uri.MediaType}'",
        _ => $"a {content.GetType().Name}",
    };

    /// <summary>Without the query, which may hold a secret, and never long.</summary>
    private static string Shortened(Uri uri)
    {
        string text = uri.IsAbsoluteUri ? uri.GetLeftPart(UriPartial.Path) : uri.OriginalString;
        return text.Length <= 200 ? text : text[..200] + "…";
    }
}
