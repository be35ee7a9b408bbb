namespace Skylight.Generation;

/// <summary>
/// A model gave features of a picture that are no numbers: it has diverged in training, its weights are damaged, or so
/// are the picture's pixels. Ends the requests that hold the picture; other requests go on.
/// </summary>
public sealed class ImageFeaturesNotFiniteException : ArithmeticException
{
    /// <summary>Makes the error.</summary>
    public ImageFeaturesNotFiniteException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the error.</summary>
    public ImageFeaturesNotFiniteException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes the error.</summary>
    public ImageFeaturesNotFiniteException()
    {
    }

    /// <summary>Names the picture in a request.</summary>
    internal static ImageFeaturesNotFiniteException Of(RequestRun run, ImageFeatures picture) => new(
        $"The features of tile {Array.IndexOf(run.Features, picture) + 1} of the prompt's {run.Features.Length} are " +
        $"not finite: the model has diverged, or its weights or the picture's pixels are damaged.");
}
