using Skylight.Chat;

namespace Skylight.Training.Evaluation;

/// <summary>
/// How a data set is put to a model. The defaults are those of the Skywork-R1V3 report, which takes 5 samples.
/// </summary>
public sealed record EvaluationOptions
{
    /// <summary>Responses to each item; their mean is its score.</summary>
    public int Samples { get; init; } = 1;

    /// <summary>Divides the logits; 0 takes the most likely token.</summary>
    public float Temperature { get; init; } = 1;

    /// <summary>Only the most likely tokens that together have this probability are eligible.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>Makes tokens less likely that were read or written before; 1 changes nothing.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>The most tokens of a response, its thinking included; fewer where the context leaves fewer.</summary>
    public int MaxOutputTokens { get; init; } = 16384;

    /// <summary>The rules that responses are scored by.</summary>
    public ScoringRules Scoring { get; init; }

    /// <summary>How questions are put.</summary>
    public PromptStyle Prompt { get; init; } = PromptStyle.Direct;

    /// <summary>Whether the model thinks first.</summary>
    public ThinkingMode Thinking { get; init; }

    /// <summary>Words that are never written, such as "Wait".</summary>
    public IReadOnlyList<string> BannedWords { get; init; } = [];

    /// <summary>
    /// Whether responses to items with options are held to the letter of one of them; thinking stays free.
    /// </summary>
    public bool HoldsChoices { get; init; }

    /// <summary>
    /// The most tiles of a picture; by default what the checkpoint says. Never more than 64 divided by the pictures of
    /// the item, as VLMEvalKit has it.
    /// </summary>
    public int? MaximumTiles { get; init; }

    /// <summary>
    /// Every response follows from this, its item's id and its number; not from what else runs, nor from the order.
    /// </summary>
    public ulong Seed { get; init; }

    /// <summary>Responses that are written at once. Changes the speed alone.</summary>
    public int Concurrency { get; init; } = 16;

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    public void Validate()
    {
        if (Samples < 1)
            throw new ArgumentException($"An item needs at least 1 sample, not {Samples}.");
        if (Concurrency < 1)
            throw new ArgumentException($"At least 1 response is written at once, not {Concurrency}.");
        if (!(Temperature >= 0) || !float.IsFinite(Temperature))
            throw new ArgumentException($"The temperature must be 0 or more, not {Temperature}.");
        if (!(TopP > 0 && TopP <= 1))
            throw new ArgumentException($"Top-p must be in (0, 1], not {TopP}.");
        if (!(RepetitionPenalty > 0) || !float.IsFinite(RepetitionPenalty))
            throw new ArgumentException($"The repetition penalty must be above 0, not {RepetitionPenalty}.");
        if (MaxOutputTokens < 1)
            throw new ArgumentException($"A response needs at least 1 new token, not {MaxOutputTokens}.");
        if (BannedWords.Any(string.IsNullOrWhiteSpace))
            throw new ArgumentException(
                "A word that is never written cannot be empty or white space; leave it out, or name a word such as Wait.");
        if (MaximumTiles is < 1 or > GenerationOptions.MostTiles)
            throw new ArgumentException($"A picture has 1 to {GenerationOptions.MostTiles} tiles, not {MaximumTiles}.");
    }
}
