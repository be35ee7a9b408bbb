using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Training;

/// <summary>
/// What completions may be drawn with that are trained on. The policy objective is about the probabilities that the
/// model itself gives, at a temperature: a token that was drawn from another distribution than that makes every ratio
/// wrong, without a word.
/// </summary>
internal static class RolloutSampling
{
    /// <summary>
    /// Refuses options that draw from another distribution than is trained; names the option and says what to set.
    /// </summary>
    /// <exception cref="ArgumentException">They do.</exception>
    public static void Check(SamplingOptions sampling)
    {
        ArgumentNullException.ThrowIfNull(sampling);
        sampling.Validate();
        const string Sampling = nameof(GrpoOptions.Sampling) + ".";
        if (sampling.Temperature == 0)
            throw Refused(
                $"{Sampling}{nameof(SamplingOptions.Temperature)} is 0, which draws the most likely token always: a " +
                $"group's completions would all be the same", "a temperature above 0, such as 1");
        if (sampling.RepetitionPenalty != 1)
            throw Refused($"{Sampling}{nameof(SamplingOptions.RepetitionPenalty)} is {sampling.RepetitionPenalty}", "1");
        if (sampling.FrequencyPenalty != 0)
            throw Refused($"{Sampling}{nameof(SamplingOptions.FrequencyPenalty)} is {sampling.FrequencyPenalty}", "0");
        if (sampling.PresencePenalty != 0)
            throw Refused($"{Sampling}{nameof(SamplingOptions.PresencePenalty)} is {sampling.PresencePenalty}", "0");
        if (sampling.LogitBias.Where(bias => bias.Value != 0)
            .Select(bias => ((int Token, float Bias)?)(bias.Key, bias.Value)).FirstOrDefault() is { } biased)
            throw Refused(
                $"{Sampling}{nameof(SamplingOptions.LogitBias)} " +
                $"{(float.IsNegativeInfinity(biased.Bias) ? "bans" : "biases")} token {biased.Token}", "no bias and no ban");
        if (sampling.SpeculativeTokens != 0)
            throw new ArgumentException(
                $"{Sampling}{nameof(SamplingOptions.SpeculativeTokens)} is {sampling.SpeculativeTokens}: rollouts are many at " +
                $"once, beside which nothing is guessed, and their memory is planned without it. Leave it 0.", nameof(sampling));
        if (sampling.TopK != 0)
            throw Refused($"{Sampling}{nameof(SamplingOptions.TopK)} is {sampling.TopK}", "0");
        if (sampling.TopP != 1)
            throw Refused($"{Sampling}{nameof(SamplingOptions.TopP)} is {sampling.TopP}", "1");
        if (sampling.MinP != 0)
            throw Refused($"{Sampling}{nameof(SamplingOptions.MinP)} is {sampling.MinP}", "0");
        if (sampling.MinOutputTokens > 0)
            throw Refused(
                $"{Sampling}{nameof(SamplingOptions.MinOutputTokens)} is {sampling.MinOutputTokens}, which bans the stop " +
                $"tokens at first", "0");
    }

    /// <summary>
    /// Refuses an engine whose keys and values are rounded otherwise than training rounds them: log-probabilities of
    /// rollouts would not be those of training, and no ratio would be 1.
    /// </summary>
    /// <exception cref="ArgumentException">It is such an engine.</exception>
    public static void Check(GenerationEngine engine, VisionLanguageModel model)
    {
        DataType trained = model.Device.KeyValueType(model.ParameterType);
        if (engine.KeyValueType != trained)
            throw Refused($"The engine keeps keys and values in {engine.KeyValueType}, training computes with {trained}",
                "an engine without a keyValueType (ChatModelOptions.KeyValueType null)", nameof(engine));
    }

    private static ArgumentException Refused(string what, string instead, string parameter = "sampling") =>
        new($"{what}: completions would be drawn from another distribution than the one that is trained. Rollouts " +
            $"need {instead}; evaluation may use what it likes.", parameter);
}
