using Skylight.Constraints;
using Skylight.Generation;

namespace Skylight.Chat;

/// <summary>Whether a model thinks before it answers.</summary>
public enum ThinkingMode
{
    /// <summary>As the model was made: Skywork-R1V3 thinks, InternVL3 and InternVL3.5 do not.</summary>
    Default,

    /// <summary>
    /// The prompt opens a think block; InternVL3.5's asks for one with the system message of its card
    /// (<see cref="Text.ChatTemplate.ThinkingMessage"/>).
    /// </summary>
    On,

    /// <summary>It does neither.</summary>
    Off,
}

/// <summary>
/// How an answer is made. What is null follows the checkpoint's <c>generation_config.json</c>, and else the default
/// named here.
/// </summary>
/// <example>
/// <code>
/// var options = new GenerationOptions { Temperature = 0.6f, TopP = 0.95f, MaxOutputTokens = 100, Thinking =
/// ThinkingMode.On }; ChatAnswer answer = await model.CompleteAsync(messages, options);
/// </code>
/// </example>
public sealed record GenerationOptions
{
    /// <summary>
    /// Divides the logits; 0 takes the most likely token. By default 0, unless the checkpoint says <c>do_sample</c>.
    /// </summary>
    public float? Temperature { get; init; }

    /// <summary>Only the most likely tokens that together have this probability are eligible; by default all.</summary>
    public float? TopP { get; init; }

    /// <summary>Only so many of the most likely tokens are eligible; by default (and for 0) all.</summary>
    public int? TopK { get; init; }

    /// <summary>
    /// Only tokens at least this much as probable as the most likely one are eligible, from 0 to 1; by default all.
    /// </summary>
    public float? MinP { get; init; }

    /// <summary>Makes tokens less likely that were read or written before; by default 1, which changes nothing.</summary>
    public float? RepetitionPenalty { get; init; }

    /// <summary>
    /// Makes tokens less likely the more often they were written in this answer, its thinking included: taken from their
    /// logits for each time. From −2 to 2; by default 0, which changes nothing.
    /// </summary>
    public float? FrequencyPenalty { get; init; }

    /// <summary>
    /// Makes tokens less likely that were written in this answer: taken from their logits once. From −2 to 2; by default
    /// 0, which changes nothing.
    /// </summary>
    public float? PresencePenalty { get; init; }

    /// <summary>
    /// How many tokens are guessed at most behind the next one and run with it in one pass, from 0 to 15: those that
    /// followed where the last few stood before, in the prompt or in the answer. It changes no token and no bit
    /// (<see cref="SamplingOptions.SpeculativeTokens"/>); long thinking, and answers that repeat their prompt, come in
    /// fewer passes. By default <see cref="ChatModelOptions.SpeculativeTokens"/>.
    /// </summary>
    public int? SpeculativeTokens { get; init; }

    /// <summary>Added to the logits of single tokens, by number.</summary>
    public IReadOnlyDictionary<int, float>? LogitBias { get; init; }

    /// <summary>
    /// Words that are never written, such as "Wait": as given, in lower case and with a capital, alone and after a
    /// space.
    /// </summary>
    public IReadOnlyList<string> BannedWords { get; init; } = [];

    /// <summary>
    /// The most tokens of the answer, its thinking included. By default 4096, or as many as context and cache leave.
    /// </summary>
    public int? MaxOutputTokens { get; init; }

    /// <summary>The answer ends before any of these texts. They are looked for in the answer, not in the thinking.</summary>
    public IReadOnlyList<string> StopSequences { get; init; } = [];

    /// <summary>
    /// Tokens that end the answer, by number, beside those with which the model ends it. Like those they are no part of
    /// its text.
    /// </summary>
    public IReadOnlyList<int> StopTokenIds { get; init; } = [];

    /// <summary>
    /// Whether the tokens with which the model ends an answer end nothing: it goes on until <see cref="MaxOutputTokens"/>,
    /// one of <see cref="StopTokenIds"/>, or one of <see cref="StopSequences"/>.
    /// </summary>
    public bool IgnoreEndOfSequence { get; init; }

    /// <summary>
    /// No token that would end the answer is drawn before it has so many tokens, and no stop text is looked for in
    /// them; by default (and for 0) it may end at once. A stop text that begins in them and ends behind them counts.
    /// </summary>
    public int? MinOutputTokens { get; init; }

    /// <summary>
    /// Whether special tokens are left out of the text, as they are by default. Grounding,
    /// <c>&lt;ref&gt;…&lt;/ref&gt;&lt;box&gt;…&lt;/box&gt;</c>, is written with such tokens. The token that ends the
    /// answer and the tags of think blocks are no part of the text either way.
    /// </summary>
    public bool SkipSpecialTokens { get; init; } = true;

    /// <summary>
    /// The same seed and messages give the same answer, whatever else runs; null for another one each time.
    /// </summary>
    public ulong? Seed { get; init; }

    /// <summary>Whether the model thinks first.</summary>
    public ThinkingMode Thinking { get; init; }

    /// <summary>The most tiles of a picture; by default what the checkpoint says (12).</summary>
    public int? MaximumTiles { get; init; }

    /// <summary>The most that <see cref="MaximumTiles"/> may be, as of a checkpoint's own tiling.</summary>
    public const int MostTiles = 1024;

    /// <summary>
    /// The form that the answer is held to, JSON of a schema say; by default any. Thinking stays free: the form begins
    /// behind the think block. An answer that reaches <see cref="MaxOutputTokens"/> or one of
    /// <see cref="StopSequences"/> before it has the form ends there, and says so.
    /// </summary>
    public Constraint? Constraint { get; init; }

    /// <summary>
    /// What the model may call. They are named in the prompt, behind the system message, and answers carry calls:
    /// <see cref="GenerationUpdate.ToolCall"/>, <see cref="ChatAnswer.ToolCalls"/>. A call names one of them and has
    /// arguments of its schema; together with <see cref="Constraint"/> an answer has its form or is calls.
    /// </summary>
    public IReadOnlyList<ToolDefinition> Tools { get; init; } = [];

    /// <summary>Whether the model calls, may call or must call tools.</summary>
    public ToolChoice ToolChoice { get; init; } = ToolChoice.Auto;

    /// <summary>Whether an answer may call several tools; else one at most.</summary>
    public bool ParallelToolCalls { get; init; } = true;

    /// <summary>The tools that the model is told of.</summary>
    internal IReadOnlyList<ToolDefinition> OfferedTools => ToolChoice.Kind == ToolChoiceKind.None ? [] : Tools;

    /// <summary>Whether answers are held to any form.</summary>
    internal bool HasForm => Constraint is not null || OfferedTools.Count > 0;

    /// <summary>Whether updates carry their tokens with log-probability and entropy.</summary>
    public bool ReportTokens { get; init; }

    /// <summary>
    /// How many of the most likely tokens each reported token comes with, from 0 to 20; needs
    /// <see cref="ReportTokens"/>.
    /// </summary>
    public int TopLogProbabilityCount { get; init; }

    /// <summary>Checks the ranges of what is given; what the model says of it shows when it answers.</summary>
    /// <returns>These options.</returns>
    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    public GenerationOptions Validate()
    {
        var sampling = new SamplingOptions();
        (sampling with
        {
            Temperature = Temperature ?? sampling.Temperature,
            TopP = TopP ?? sampling.TopP,
            TopK = TopK ?? sampling.TopK,
            MinP = MinP ?? sampling.MinP,
            RepetitionPenalty = RepetitionPenalty ?? sampling.RepetitionPenalty,
            FrequencyPenalty = FrequencyPenalty ?? 0,
            PresencePenalty = PresencePenalty ?? 0,
            TopLogProbabilityCount = TopLogProbabilityCount,
            SpeculativeTokens = SpeculativeTokens ?? 0,
            LogitBias = LogitBias ?? sampling.LogitBias,
            MaxOutputTokens = MaxOutputTokens ?? Math.Max(sampling.MaxOutputTokens, MinOutputTokens ?? 0),
            MinOutputTokens = MinOutputTokens ?? 0,
            StopTokens = StopTokenIds,
        }).Validate();
        ToolForm.Check(this);
        if (HasForm && IgnoreEndOfSequence && StopTokenIds.Count == 0)
            throw new ArgumentException(
                "An answer that is held to a form, or may call tools, ends where it has its form: the tokens with which " +
                "the model ends it cannot be ignored.");
        if (HasForm && MinOutputTokens > 0)
            throw new ArgumentException(
                $"An answer that is held to a form, or may call tools, ends where it has its form, and cannot be made to " +
                $"have at least {MinOutputTokens} tokens: say in the form how long it is to be.");
        if (TopLogProbabilityCount > 0 && !ReportTokens)
            throw new ArgumentException(
                $"The {TopLogProbabilityCount} most likely tokens are told with each token, but tokens are not reported: " +
                $"set {nameof(ReportTokens)}.");
        if (StopSequences.Any(string.IsNullOrEmpty))
            throw new ArgumentException("A stop text cannot be empty.");
        if (BannedWords.Any(string.IsNullOrWhiteSpace))
            throw new ArgumentException("A banned word cannot be empty.");
        return MaximumTiles is null or (>= 1 and <= MostTiles) ? this
            : throw new ArgumentException($"A picture has 1 to {MostTiles} tiles, not {MaximumTiles}.");
    }
}
