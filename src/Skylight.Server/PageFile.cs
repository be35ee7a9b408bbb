using System.IO.Compression;
using System.IO.Hashing;
using System.Reflection;

namespace Skylight.Server;

/// <summary>A file of the page, in the forms in which browsers take it.</summary>
internal sealed class PageFile
{
    private const string Prefix = "page/";

    private readonly Lazy<byte[]> _brotli, _gzip;

    /// <summary>Makes a file of its bytes.</summary>
    /// <param name="name">Its name; what follows the last dot says what it is.</param>
    /// <param name="content">Its bytes.</param>
    public PageFile(string name, byte[] content)
    {
        Content = content;
        ContentType = Path.GetExtension(name) switch
        {
            ".html" => "text/html; charset=utf-8",
            ".js" => "text/javascript; charset=utf-8",
            ".css" => "text/css; charset=utf-8",
            ".txt" => "text/plain; charset=utf-8",
            ".svg" => "image/svg+xml",
            ".woff2" => "font/woff2",
            string other => throw new InvalidOperationException($"The page has a file of the kind '{other}', {name}: say here what it is."),
        };
        Tag = $"{XxHash3.HashToUInt64(content):x16}";
        IsCompressible = ContentType != "font/woff2";
        _brotli = new Lazy<byte[]>(() => Compressed(stream => new BrotliStream(stream,
            new BrotliCompressionOptions { Quality = 9 }, leaveOpen: true)));
        _gzip = new Lazy<byte[]>(() => Compressed(stream =>
            new GZipStream(stream, CompressionLevel.Optimal, leaveOpen: true)));
    }

    public string ContentType { get; }

    public byte[] Content { get; }

    /// <summary>Names the content; other bytes have another one.</summary>
    public string Tag { get; }

    /// <summary>Whether it gets smaller: fonts are compressed as they are.</summary>
    public bool IsCompressible { get; }

    /// <summary>The content by Brotli; compressed once, when it is first asked for.</summary>
    public byte[] Brotli => _brotli.Value;

    /// <summary>The content by gzip; compressed once, when it is first asked for.</summary>
    public byte[] Gzip => _gzip.Value;

    /// <summary>The files that this assembly holds, by their names: <c>index.html</c>, <c>page/index.js</c>.</summary>
    public static Dictionary<string, PageFile> ReadAll()
    {
        Assembly assembly = typeof(PageFile).Assembly;
        var files = new Dictionary<string, PageFile>(StringComparer.Ordinal);
        foreach (string resource in assembly.GetManifestResourceNames())
        {
            if (!resource.StartsWith(Prefix, StringComparison.Ordinal))
                continue;
            using Stream stream = assembly.GetManifestResourceStream(resource)!;
            byte[] content = new byte[stream.Length];
            stream.ReadExactly(content);
            string name = resource[Prefix.Length..];
            files.Add(name, new PageFile(name, content));
        }

        return files;
    }

    private byte[] Compressed(Func<Stream, Stream> by)
    {
        using var compressed = new MemoryStream();
        using (Stream stream = by(compressed))
            stream.Write(Content);
        return compressed.ToArray();
    }
}
