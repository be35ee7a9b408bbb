using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Skylight.Hub;

/// <summary>
/// The hash that names a content: SHA-256 of a large file, SHA-1 of a small one behind git's head. They come from the
/// system's cryptography, which a machine that fetches over https has in any case.
/// </summary>
internal sealed class ContentCheck : IDisposable
{
    private readonly IncrementalHash _hash;

    public ContentCheck(HubFile file)
    {
#pragma warning disable CA5350 // The name that git gives it; nothing is kept secret by it.
        _hash = IncrementalHash.CreateHash(file.Sha256 is null ? HashAlgorithmName.SHA1 : HashAlgorithmName.SHA256);
#pragma warning restore CA5350
        if (file.Sha256 is null)
            _hash.AppendData(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"blob {file.Length}\0")));
    }

    public void Append(ReadOnlySpan<byte> bytes) => _hash.AppendData(bytes);

    /// <summary>The hash of all that was appended, in digits.</summary>
    public string Finish() => Convert.ToHexStringLower(_hash.GetHashAndReset());

    public void Dispose() => _hash.Dispose();
}
