using System.Runtime.InteropServices;

namespace Skylight.Images;

/// <summary>The two functions of libwebp that decoding needs. The only unsafe code of this room.</summary>
internal sealed unsafe class WebPLibrary
{
    private readonly delegate* unmanaged<byte*, nuint, int*, int*, int> _getInfo;
    private readonly delegate* unmanaged<byte*, nuint, byte*, nuint, int, byte*> _decodeRgbInto;

    private WebPLibrary(nint getInfo, nint decodeRgbInto)
    {
        _getInfo = (delegate* unmanaged<byte*, nuint, int*, int*, int>)getInfo;
        _decodeRgbInto = (delegate* unmanaged<byte*, nuint, byte*, nuint, int, byte*>)decodeRgbInto;
    }

    /// <summary>The system's library; null if there is none.</summary>
    public static Lazy<WebPLibrary?> System { get; } = new(() => Load(Names()));

    /// <summary>How a user gets the library.</summary>
    public static string HowToInstall =>
        OperatingSystem.IsWindows() ? "put libwebp.dll, of the WebP project's Windows binaries, beside the program"
        : OperatingSystem.IsMacOS() ? "brew install webp"
        : "Debian and Ubuntu: apt-get install libwebp7; Fedora: dnf install libwebp; Alpine: apk add libwebp";

    /// <summary>The first of some libraries that is there and has the functions; it stays loaded.</summary>
    public static WebPLibrary? Load(IEnumerable<string> names)
    {
        foreach (string name in names)
        {
            if (!NativeLibrary.TryLoad(name, typeof(WebPLibrary).Assembly, null, out nint handle))
                continue;
            if (NativeLibrary.TryGetExport(handle, "WebPGetInfo", out nint getInfo)
                && NativeLibrary.TryGetExport(handle, "WebPDecodeRGBInto", out nint decode))
                return new WebPLibrary(getInfo, decode);
            NativeLibrary.Free(handle);
        }

        return null;
    }

    /// <summary>Width and height by the header; null if it is not valid.</summary>
    public (int Width, int Height)? Size(ReadOnlySpan<byte> file)
    {
        int width = 0;
        int height = 0;
        fixed (byte* data = file)
            return _getInfo(data, (nuint)file.Length, &width, &height) != 0 ? (width, height) : null;
    }

    /// <summary>Decodes into a buffer that holds all rows; false if the file is not valid.</summary>
    public bool Decode(ReadOnlySpan<byte> file, Span<byte> pixels, int stride)
    {
        fixed (byte* data = file)
        fixed (byte* target = pixels)
            return _decodeRgbInto(data, (nuint)file.Length, target, (nuint)pixels.Length, stride) is not null;
    }

    private static string[] Names() =>
        OperatingSystem.IsWindows()
            ? ["libwebp.dll", "libwebp-7.dll", "webp.dll", "libwebpdecoder.dll", "libwebpdecoder-3.dll"]
        : OperatingSystem.IsMacOS() ? ["libwebp.7.dylib", "libwebp.dylib", "libwebpdecoder.3.dylib",
            "/opt/homebrew/lib/libwebp.dylib", "/usr/local/lib/libwebp.dylib"]
        : ["libwebp.so.7", "libwebp.so.6", "libwebpdecoder.so.3", "libwebpdecoder.so.2", "libwebp.so"];
}
