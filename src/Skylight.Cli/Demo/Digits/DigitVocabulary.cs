using Skylight.Text;

namespace Skylight.Cli.Demo.Digits;

/// <summary>The tokens of the demo's model: the characters of its texts and the marks of a turn.</summary>
internal static class DigitVocabulary
{
    /// <summary>Ends a turn.</summary>
    public const string EndToken = "<|im_end|>";

    /// <summary>Holds the place of one row of image features.</summary>
    public const string ImageToken = "<IMG_CONTEXT>";

    /// <summary>Opens the reasoning.</summary>
    public const string ThinkToken = "<think>";

    /// <summary>Closes the reasoning.</summary>
    public const string EndThinkToken = "</think>";

    // One token, as a large vocabulary would have it in two or three: each step less makes the demo faster.
    private const string BoxToken = @"\boxed{";

    /// <summary>Makes the tokenizer.</summary>
    public static CharacterTokenizer CreateTokenizer() => new(
        " 0123456789+-=<>?.,}adefgilmnorstuW", EndToken, ImageToken, ThinkToken, EndThinkToken, BoxToken);
}
