namespace Skylight.Checkpoints;

/// <summary>
/// A checkpoint, configuration or training state on disk cannot be used; the message says which file, what in it, and
/// what to do.
/// </summary>
public sealed class CheckpointException : Exception
{
    /// <summary>Makes an error.</summary>
    /// <param name="file">The file or folder at fault.</param>
    /// <param name="message">What is wrong with it and what would be right.</param>
    /// <param name="tensor">The tensor at fault, if it is one.</param>
    /// <param name="innerException">What the system reported, if anything.</param>
    public CheckpointException(string file, string message, string? tensor = null, Exception? innerException = null)
        : base(tensor is null ? $"{file}: {message}" : $"{file}: tensor '{tensor}': {message}", innerException)
    {
        File = file;
        Tensor = tensor;
    }

    /// <summary>The file or folder at fault.</summary>
    public string File { get; }

    /// <summary>The tensor at fault; null when the trouble is not with one tensor.</summary>
    public string? Tensor { get; }
}
