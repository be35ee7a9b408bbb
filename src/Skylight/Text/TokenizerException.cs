namespace Skylight.Text;

/// <summary>
/// A tokenizer's files cannot be used, or do not fit the model; the message says which file, what in it, and what to
/// do.
/// </summary>
public sealed class TokenizerException : Exception
{
    /// <summary>Makes an error.</summary>
    /// <param name="file">The file at fault; null for a tokenizer that comes from none.</param>
    /// <param name="message">What is wrong with it and what would be right.</param>
    /// <param name="innerException">What the system reported, if anything.</param>
    public TokenizerException(string? file, string message, Exception? innerException = null)
        : base(file is null ? message : $"{file}: {message}", innerException) => File = file;

    /// <summary>The file at fault; null for a tokenizer that comes from none.</summary>
    public string? File { get; }
}
