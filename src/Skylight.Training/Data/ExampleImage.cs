using Skylight.Chat;
using Skylight.Images;

namespace Skylight.Training.Data;

/// <summary>A picture of an example: a file, or bytes of the data set itself. It is decoded when it is used.</summary>
public sealed class ExampleImage
{
    private readonly string? _path;
    private readonly Func<CancellationToken, ValueTask<ReadOnlyMemory<byte>>>? _read;

    private ExampleImage(string name, string? path, Func<CancellationToken, ValueTask<ReadOnlyMemory<byte>>>? read,
        long? bytes) =>
        (Name, _path, _read, EncodedBytes) = (name, path, read, bytes);

    /// <summary>What errors call it: its path, or its place in the data set.</summary>
    public string Name { get; }

    /// <summary>Whether its bytes are held in memory or in the data set, not in a file of their own.</summary>
    public bool IsEmbedded => _path is null;

    /// <summary>The bytes of the encoded picture; null for a file.</summary>
    private long? EncodedBytes { get; }

    /// <summary>A picture's file, read when it is used.</summary>
    public static ExampleImage FromFile(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return new ExampleImage(path, path, null, null);
    }

    /// <summary>The content of a picture's file; not copied.</summary>
    /// <param name="encoded">The content.</param>
    /// <param name="name">What errors call it.</param>
    public static ExampleImage FromBytes(ReadOnlyMemory<byte> encoded, string name = "picture")
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return new ExampleImage(name, null, _ => ValueTask.FromResult(encoded), encoded.Length);
    }

    /// <summary>A picture whose content is fetched each time that it is used.</summary>
    /// <param name="name">What errors call it.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="read">Fetches them.</param>
    internal static ExampleImage FromReader(string name, long length,
        Func<CancellationToken, ValueTask<ReadOnlyMemory<byte>>> read) => new(name, null, read, length);

    /// <summary>How many bytes the encoded picture has.</summary>
    /// <exception cref="IOException">Its file is not there.</exception>
    public long Length => EncodedBytes ?? BoundedFile.Length(_path!);

    /// <summary>The content of the file.</summary>
    /// <param name="limits">How large it may be; the default limits if null.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="IOException">It cannot be read.</exception>
    /// <exception cref="ImageException">It is larger than the limits allow.</exception>
    public async ValueTask<ReadOnlyMemory<byte>> ReadAsync(ImageLimits? limits = null,
        CancellationToken cancellationToken = default)
    {
        if (_read is not null)
            return await _read(cancellationToken).ConfigureAwait(false);
        limits ??= ImageLimits.Default;
        limits.CheckEncodedBytes("Picture", Length);
        return await BoundedFile.ReadAsync(_path!, limits.MaximumEncodedBytes, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The picture as a part of a message.</summary>
    public ImagePart ToPart() => _path is not null ? ImagePart.FromFile(_path) : ImagePart.FromReader(Name, _read!);
}
