namespace Skylight.Text;

/// <summary>The special tokens of the InternVL3 family, by spelling: their numbers differ between tokenizers.</summary>
public static class SpecialTokens
{
    /// <summary>Begins a turn; the role follows.</summary>
    public const string TurnStart = "<|im_start|>";

    /// <summary>Ends a turn.</summary>
    public const string TurnEnd = "<|im_end|>";

    /// <summary>Ends a text.</summary>
    public const string TextEnd = "<|endoftext|>";

    /// <summary>Begins a picture.</summary>
    public const string ImageStart = "<img>";

    /// <summary>Stands for one feature vector of a picture.</summary>
    public const string ImageContext = "<IMG_CONTEXT>";

    /// <summary>Ends a picture.</summary>
    public const string ImageEnd = "</img>";

    /// <summary>Opens a think block; plain text in most tokenizers of the family.</summary>
    public const string ThinkStart = "<think>";

    /// <summary>Closes a think block; plain text in most tokenizers of the family.</summary>
    public const string ThinkEnd = "</think>";

    /// <summary>Opens a tool call. A token of its own in tokenizers of Qwen2.5 and later, though not a special
    /// one.</summary>
    public const string ToolCallStart = "<tool_call>";

    /// <summary>Closes a tool call.</summary>
    public const string ToolCallEnd = "</tool_call>";

    /// <summary>Opens what a tool gave; plain text in Qwen2.5's tokenizers, a token in Qwen3's.</summary>
    public const string ToolResponseStart = "<tool_response>";

    /// <summary>Closes what a tool gave.</summary>
    public const string ToolResponseEnd = "</tool_response>";

    /// <summary>The number of a special token that must be there.</summary>
    /// <exception cref="TokenizerException">The tokenizer does not have it; names it.</exception>
    public static int RequiredTokenId(this ITokenizer tokenizer, string specialToken) =>
        tokenizer.TokenId(specialToken) ?? throw new TokenizerException(
            FileOf(tokenizer),
            $"the tokenizer has no special token '{specialToken}'; supported: tokenizers of InternVL3 and " +
            $"Skywork-R1V3. Use the one that came with the checkpoint.");

    /// <summary>
    /// Refuses a tokenizer that does not belong to a model: one with token numbers that the model has no embedding for,
    /// without a token that prompts need, or with another image token.
    /// </summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="vocabularySize">How many rows the model's embedding has; may be more than the tokenizer's tokens,
    /// as some are padded.</param>
    /// <param name="imageTokenId">The image token that the model's configuration names, if it names one.</param>
    /// <exception cref="TokenizerException">It does not fit; names both sides.</exception>
    public static void EnsureFits(this ITokenizer tokenizer, int vocabularySize, int? imageTokenId = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        if (tokenizer.VocabularySize > vocabularySize)
        {
            throw new TokenizerException(
                FileOf(tokenizer),
                $"the tokenizer has {tokenizer.VocabularySize} tokens and the model's vocabulary has " +
                $"{vocabularySize}: they do not belong together. Use the tokenizer that came with the checkpoint.");
        }

        foreach (string token in (ReadOnlySpan<string>)[TurnStart, TurnEnd, ImageStart, ImageContext, ImageEnd])
            tokenizer.RequiredTokenId(token);
        if (imageTokenId is { } expected && tokenizer.RequiredTokenId(ImageContext) is int found && found != expected)
        {
            throw new TokenizerException(
                FileOf(tokenizer),
                $"'{ImageContext}' is token {found}, and the model's image token is {expected}: they do not belong " +
                $"together. Use the tokenizer that came with the checkpoint.");
        }
    }

    /// <summary>
    /// The tokens that end an answer: <see cref="TurnEnd"/>, and <see cref="TextEnd"/> where there is one.
    /// </summary>
    /// <exception cref="TokenizerException">The tokenizer has no <see cref="TurnEnd"/>.</exception>
    public static int[] StopTokenIds(this ITokenizer tokenizer)
    {
        int turnEnd = tokenizer.RequiredTokenId(TurnEnd);
        return tokenizer.TokenId(TextEnd) is { } textEnd ? [turnEnd, textEnd] : [turnEnd];
    }

    private static string? FileOf(ITokenizer tokenizer) => (tokenizer as BytePairTokenizer)?.File;
}
