using Skylight.Images;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>A part of a message: <see cref="TextPart"/>, <see cref="ImagePart"/> or
/// <see cref="ToolCallPart"/>.</summary>
public abstract record MessagePart
{
    private protected MessagePart()
    {
    }
}

/// <summary>Plain text; what is spelled like a special token stays text.</summary>
/// <param name="Text">The text.</param>
public sealed record TextPart(string Text) : MessagePart;

/// <summary>A call of a tool in an earlier answer of the model; calls stand behind the answer's text.</summary>
/// <param name="Call">The call.</param>
public sealed record ToolCallPart(ToolCall Call) : MessagePart;

/// <summary>A picture.</summary>
public sealed record ImagePart : MessagePart
{
    private readonly Func<ImageDecoders, ImageLimits, CancellationToken, Task<RgbImage>> _open;

    private ImagePart(string name, Func<ImageDecoders, ImageLimits, CancellationToken, Task<RgbImage>> open)
    {
        Name = name;
        _open = open;
    }

    /// <summary>What errors call it.</summary>
    public string Name { get; }

    /// <summary>A PNG, JPEG or WebP file, read when the message is used.</summary>
    public static ImagePart FromFile(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return new ImagePart(path, async (decoders, limits, cancellationToken) =>
            decoders.Decode(await ReadAsync(path, limits, cancellationToken).ConfigureAwait(false), limits,
                cancellationToken));
    }

    /// <summary>
    /// A PNG, JPEG or WebP file, read now: for conversations whose later turns must not depend on the file.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="limits">How large it may be; the default limits if null.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ImageException">It is larger than the limits allow.</exception>
    public static async Task<ImagePart> ReadFileAsync(string path, ImageLimits? limits = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        try
        {
            return FromBytes(
                await ReadAsync(path, limits ?? ImageLimits.Default, cancellationToken).ConfigureAwait(false), path);
        }
        catch (ImageException exception)
        {
            throw Named(path, exception);
        }
    }

    /// <summary>The content of a PNG, JPEG or WebP file; not copied.</summary>
    /// <param name="encoded">The content.</param>
    /// <param name="name">What errors call it.</param>
    public static ImagePart FromBytes(ReadOnlyMemory<byte> encoded, string name = "picture")
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return new ImagePart(name, (decoders, limits, cancellationToken) =>
            Task.FromResult(decoders.Decode(encoded, limits, cancellationToken)));
    }

    /// <summary>
    /// The content of a PNG, JPEG or WebP file that lies elsewhere, such as in a data set; fetched when the message is
    /// used.
    /// </summary>
    /// <param name="name">What errors call it.</param>
    /// <param name="read">Fetches the content.</param>
    public static ImagePart FromReader(string name, Func<CancellationToken, ValueTask<ReadOnlyMemory<byte>>> read)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(read);
        return new ImagePart(name, async (decoders, limits, cancellationToken) =>
            decoders.Decode(await read(cancellationToken).ConfigureAwait(false), limits, cancellationToken));
    }

    /// <summary>A picture that the host has decoded itself.</summary>
    public static ImagePart FromRgb(RgbImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        return new ImagePart("picture", (_, limits, _) =>
        {
            limits.CheckSize("RGB picture", image.Width, image.Height);
            return Task.FromResult(image);
        });
    }

    /// <summary>Decodes it.</summary>
    /// <exception cref="ImageException">It cannot be decoded, or is too large.</exception>
    internal async Task<RgbImage> OpenAsync(ImageDecoders decoders, ImageLimits limits, CancellationToken cancellationToken)
    {
        try
        {
            return await _open(decoders, limits, cancellationToken).ConfigureAwait(false);
        }
        catch (ImageException exception)
        {
            throw Named(Name, exception);
        }
    }

    private static async Task<byte[]> ReadAsync(string path, ImageLimits limits, CancellationToken cancellationToken)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no picture '{path}'.", path);
        try
        {
            return await BoundedFile.ReadAsync(path, limits.MaximumEncodedBytes, cancellationToken).ConfigureAwait(false);
        }
        catch (FileTooLargeException exception)
        {
            throw new ImageException(
                $"Picture: the file has more than the {limits.MaximumEncodedBytes:N0} bytes that " +
                $"{nameof(ImageLimits)}.{nameof(ImageLimits.MaximumEncodedBytes)} allows.", exception);
        }
    }

    private static ImageException Named(string name, ImageException exception) =>
        new($"{name}: {exception.Message}", exception);
}

/// <summary>What one side of a conversation says.</summary>
/// <param name="Role">Who says it.</param>
/// <param name="Parts">Text and pictures, in the order in which the model is to read them; pictures only from the
/// user and from tools, calls of tools only from the model.</param>
public sealed record Message(ChatRole Role, IReadOnlyList<MessagePart> Parts)
{
    /// <summary>A message of text alone.</summary>
    public Message(ChatRole role, string text)
        : this(role, [new TextPart(text)])
    {
    }

    /// <summary>What the program says about the whole conversation.</summary>
    public static Message System(string text) => new(ChatRole.System, text);

    /// <summary>Pictures, and then a question about them.</summary>
    public static Message User(string text, params ReadOnlySpan<ImagePart> images) =>
        new(ChatRole.User, [.. images, new TextPart(text)]);

    /// <summary>An earlier answer of the model.</summary>
    public static Message Assistant(string text) => new(ChatRole.Assistant, text);

    /// <summary>An earlier answer of the model with its calls of tools.</summary>
    /// <param name="text">What it said before them; may be empty.</param>
    /// <param name="calls">The calls. A message for what each of them gave follows, in the same order.</param>
    public static Message Assistant(string text, IReadOnlyList<ToolCall> calls)
    {
        ArgumentNullException.ThrowIfNull(calls);
        return new(ChatRole.Assistant, [new TextPart(text), .. calls.Select(call => new ToolCallPart(call))]);
    }

    /// <summary>What a call of a tool gave: text, and pictures behind it.</summary>
    /// <param name="callId">The call's <see cref="ToolCall.Id"/>; null where results stand in the order of the
    /// calls.</param>
    /// <param name="text">The text; may be empty.</param>
    /// <param name="images">The pictures.</param>
    public static Message ToolResult(string? callId, string text, params ReadOnlySpan<ImagePart> images) =>
        new(ChatRole.Tool, [new TextPart(text), .. images]) { ToolCallId = callId };

    /// <summary>
    /// Of what a tool gave: which call it belongs to. The model's form has no ids; results are put in the order of the
    /// calls before they are read.
    /// </summary>
    public string? ToolCallId { get; init; }
}
