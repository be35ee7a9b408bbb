using System.Text;

namespace Skylight.Cli;

/// <summary>Writes text files whole or not at all.</summary>
internal static class AtomicText
{
    public static void Write(string path, string text)
    {
        string temporary = path + ".tmp";
        try
        {
            File.WriteAllText(temporary, text, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            File.Delete(temporary);
            throw new IOException($"'{path}' cannot be written: {exception.Message}", exception);
        }
    }
}
