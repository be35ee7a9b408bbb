using System.Collections.Immutable;

namespace Skylight.Text;

/// <summary>Who says something in a chat.</summary>
public enum ChatRole
{
    /// <summary>What the program says about the whole chat.</summary>
    System,

    /// <summary>The one who asks.</summary>
    User,

    /// <summary>The model.</summary>
    Assistant,

    /// <summary>A tool that the model has called. What tools give in a row is one turn of the user's in Qwen's
    /// form.</summary>
    Tool,
}

/// <summary>A part of a turn: <see cref="ChatText"/>, <see cref="ChatImage"/> or <see cref="ChatToolCall"/>.</summary>
public abstract record ChatPart
{
    private protected ChatPart()
    {
    }
}

/// <summary>Plain text. What is spelled like a special token, or like <c>&lt;image&gt;</c>, stays text.</summary>
/// <param name="Text">The text.</param>
public sealed record ChatText(string Text) : ChatPart;

/// <summary>A picture, by the number of feature vectors that the model makes of it.</summary>
/// <param name="TokenCount">How many; tiles × tokens per tile (256 in InternVL3 and Skywork-R1V3). From 1 to
/// <see cref="MostTokens"/>.</param>
public sealed record ChatImage(int TokenCount) : ChatPart
{
    /// <summary>The most tokens of a picture: far above the context of any model.</summary>
    public const int MostTokens = 1 << 22;
}

/// <summary>A call of a tool in an earlier answer. Calls stand behind the answer's text.</summary>
/// <param name="Name">The tool.</param>
/// <param name="Arguments">A JSON object as text.</param>
public sealed record ChatToolCall(string Name, string Arguments) : ChatPart;

/// <summary>A mark that the template itself puts into a turn: one token where the tokenizer has it.</summary>
internal sealed record ChatTag(string Spelling) : ChatPart;

/// <summary>One turn of a chat.</summary>
/// <param name="Role">Whose turn it is.</param>
/// <param name="Parts">What is said, in the order in which the model reads it; pictures only in a user's or a tool's
/// turn, calls only in the model's.</param>
public sealed record ChatTurn(ChatRole Role, ImmutableArray<ChatPart> Parts)
{
    /// <summary>A system message.</summary>
    public static ChatTurn System(string text) => new(ChatRole.System, [new ChatText(text)]);

    /// <summary>A user's turn of text alone.</summary>
    public static ChatTurn User(string text) => new(ChatRole.User, [new ChatText(text)]);

    /// <summary>A user's turn of text and pictures.</summary>
    public static ChatTurn User(params ReadOnlySpan<ChatPart> parts) => new(ChatRole.User, [.. parts]);

    /// <summary>An answer of the model, with or without its thinking.</summary>
    public static ChatTurn Assistant(string text) => new(ChatRole.Assistant, [new ChatText(text)]);
}

/// <summary>A chat as the model reads it, up to where its answer begins.</summary>
/// <param name="Tokens">The tokens; every picture's feature vectors go, in order, where the image token is.</param>
/// <param name="OpensThinking">Whether the tokens end inside an open think block: the answer then holds
/// <c>&lt;/think&gt;</c> without its opening.</param>
/// <param name="ImageTokenCount">How many of the tokens are image tokens.</param>
public sealed record ChatPrompt(int[] Tokens, bool OpensThinking, int ImageTokenCount);

/// <summary>A chat with its answers as the model reads, and writes, it.</summary>
/// <param name="Tokens">The tokens; every picture's feature vectors go, in order, where the image token is.</param>
/// <param name="Answers">For each turn of the assistant the tokens that the model writes, the one that ends the turn
/// included: [start, end).</param>
/// <param name="ImageTokenCount">How many of the tokens are image tokens.</param>
public sealed record ChatTranscript(int[] Tokens, IReadOnlyList<(int Start, int End)> Answers, int ImageTokenCount);
