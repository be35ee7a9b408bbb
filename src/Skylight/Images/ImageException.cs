namespace Skylight.Images;

/// <summary>A picture cannot be used; the message says what was found in it, and what to do.</summary>
public sealed class ImageException : Exception
{
    /// <summary>Makes an error.</summary>
    /// <param name="message">What is wrong with the picture and what would be right.</param>
    /// <param name="innerException">What the system reported, if anything.</param>
    public ImageException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }
}
