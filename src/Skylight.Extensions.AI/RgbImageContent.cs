using Microsoft.Extensions.AI;
using Skylight.Images;

namespace Skylight.Extensions.AI;

/// <summary>
/// A picture that the host has decoded itself. It is known to <see cref="SkylightChatClient"/> only, and not to the
/// JSON form of messages: what is to be stored or sent to other clients goes as <see cref="DataContent"/>.
/// </summary>
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
