using Skylight.Images;
using Skylight.ImageSharp;

namespace Skylight.Cli;

/// <summary>What every command decodes pictures with.</summary>
internal static class Pictures
{
    /// <summary>All formats.</summary>
    public static ImageDecoders Decoders { get; } = ImageDecoders.Standard.WithImageSharp();
}
