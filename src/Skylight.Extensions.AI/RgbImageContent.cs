using Microsoft.Extensions.AI;
using Skylight.Images;

namespace Skylight.Extensions.AI;

/// <summary>A picture that the host has decoded itself. Other clients do not know it; to them a picture goes as <see cref="DataContent"/>.</summary>
public sealed class RgbImageContent : AIContent
{
    /// <summary>Wraps a picture.</summary>
    public RgbImageContent(RgbImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        Image = image;
    }

    /// <summary>The picture.</summary>
    public RgbImage Image { get; }
}
