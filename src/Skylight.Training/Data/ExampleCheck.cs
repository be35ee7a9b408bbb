using Skylight.Images;

namespace Skylight.Training.Data;

/// <summary>Reads every row of a source once, to find those that cannot be used before a run begins.</summary>
public static class ExampleCheck
{
    /// <summary>Reads all rows.</summary>
    /// <param name="source">The rows.</param>
    /// <param name="badRows">Gets those that cannot be used; no limit ends the check.</param>
    /// <param name="decodePictures">Whether pictures are decoded as well, as they are when they are used.</param>
    /// <param name="fault">What else may be wrong with an example, such as a prompt that is longer than the context:
    /// the reason, or null. May be null.</param>
    /// <param name="progress">Told how many rows are done.</param>
    /// <param name="decoders">What decodes pictures; <see cref="ImageDecoders.Standard"/> if null.</param>
    /// <param name="cancellationToken">Stops the check.</param>
    /// <returns>How many rows can be used.</returns>
    /// <exception cref="IOException">A file cannot be read any more.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static async Task<long> RunAsync(
        IExampleSource source, BadRows badRows, bool decodePictures = false,
        Func<TrainingExample, string?>? fault = null, IProgress<long>? progress = null,
        ImageDecoders? decoders = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(badRows);
        long good = 0;
        for (long row = 0; row < source.Count; row++)
        {
            try
            {
                TrainingExample example = await source.ReadAsync(row, cancellationToken).ConfigureAwait(false);
                string? reason = decodePictures ? await UndecodableAsync(example, decoders ?? ImageDecoders.Standard,
                    cancellationToken).ConfigureAwait(false) : null;
                reason ??= fault?.Invoke(example);
                if (reason is not null)
                    badRows.Add(example, reason);
                else
                    good++;
            }
            catch (BadRowException exception)
            {
                badRows.Add(exception.Row);
            }

            progress?.Report(row + 1);
        }

        return good;
    }

    private static async Task<string?> UndecodableAsync(TrainingExample example, ImageDecoders decoders,
        CancellationToken cancellationToken)
    {
        foreach (ExampleImage image in example.Images)
        {
            try
            {
                decoders.Decode(await image.ReadAsync(cancellationToken: cancellationToken).ConfigureAwait(false),
                    cancellationToken: cancellationToken);
            }
            catch (Exception exception) when (exception is ImageException or IOException or UnauthorizedAccessException)
            {
                return $"has the picture '{image.Name}', which cannot be used: {exception.Message}";
            }
        }

        return null;
    }
}
