using System.Text;

namespace Skylight.Cli;

/// <summary>What is piped into the program: text in UTF-8, or refused.</summary>
internal static class StandardInput
{
    private const int MostBytes = 64 << 20;

    /// <summary>The error for what is no such text.</summary>
    public static InvalidDataException NoText(string fault, Exception? inner = null) =>
        new($"Standard input cannot be read: {fault}", inner);

    /// <summary>All of it.</summary>
    /// <exception cref="InvalidDataException">It is not UTF-8.</exception>
    /// <exception cref="IOException">It cannot be read, or does not end in time.</exception>
    public static async Task<string> ReadAsync(CancellationToken cancellationToken)
    {
        // A read from a pipe cannot be cancelled: it is left behind.
        byte[] bytes = await Task.Run(
            () =>
            {
                using Stream input = Console.OpenStandardInput();
                return BoundedFile.ReadToEnd(input, "standard input", MostBytes);
            },
            CancellationToken.None).WaitAsync(cancellationToken);
        return Utf8Text.Fault(bytes) is { } fault ? throw NoText(fault)
            : Encoding.UTF8.GetString(Utf8Text.WithoutMark(bytes).Span);
    }

    /// <summary>Its lines, as they come. What is no text ends in a <see cref="DecoderFallbackException"/>.</summary>
    public static TextReader Open() => new StreamReader(
        Console.OpenStandardInput(), new UTF8Encoding(encoderShouldEmitUTF8Identifier: true, throwOnInvalidBytes: true),
        detectEncodingFromByteOrderMarks: false);
}
