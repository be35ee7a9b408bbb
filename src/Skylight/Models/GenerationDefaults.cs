using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>
/// What <c>generation_config.json</c> proposes; null where it says nothing. A program's own options go before it.
/// </summary>
public sealed record GenerationDefaults
{
    internal const string FileName = "generation_config.json";

    /// <summary>Nothing is proposed.</summary>
    public static GenerationDefaults None { get; } = new();

    /// <summary>The tokens that end a text (<c>eos_token_id</c>, a number or a list).</summary>
    public ImmutableArray<int> StopTokenIds { get; init; } = [];

    /// <summary>The token that begins a text (<c>bos_token_id</c>); Qwen2.5 uses none.</summary>
    public int? BeginTokenId { get; init; }

    /// <summary>The token that fills a batch (<c>pad_token_id</c>).</summary>
    public int? PaddingTokenId { get; init; }

    /// <summary>Whether to sample (<c>do_sample</c>), rather than to take the likeliest token.</summary>
    public bool? Sample { get; init; }

    /// <summary>The temperature of sampling, 0 or more.</summary>
    public double? Temperature { get; init; }

    /// <summary>The probability that the tokens to choose from have together, above 0 and up to 1.</summary>
    public double? TopP { get; init; }

    /// <summary>
    /// How probable a token must be at least, as a part of the probability of the likeliest one; from 0 to 1.
    /// </summary>
    public double? MinP { get; init; }

    /// <summary>How many tokens there are to choose from; 0 for all.</summary>
    public int? TopK { get; init; }

    /// <summary>
    /// What the logits of tokens that were there are divided by (where positive) or multiplied by; above 0.
    /// </summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>The most tokens to generate.</summary>
    public int? MaxOutputTokens { get; init; }

    /// <summary>The fewest tokens to generate (<c>min_new_tokens</c>).</summary>
    public int? MinOutputTokens { get; init; }

    /// <summary>Tokens that are never drawn (<c>suppress_tokens</c>).</summary>
    public ImmutableArray<int> SuppressedTokenIds { get; init; } = [];

    /// <summary>
    /// What the file asks for besides, which changes answers and is not done. It is kept, so that a checkpoint that is
    /// saved says it still.
    /// </summary>
    public ImmutableArray<IgnoredSetting> Ignored { get; init; } = [];

    /// <summary>Reads <c>generation_config.json</c> of a checkpoint folder.</summary>
    /// <param name="directory">The folder.</param>
    /// <returns><see cref="None"/> where there is no such file.</returns>
    /// <exception cref="CheckpointException">The file is not JSON or a value is impossible; names the field, what was
    /// found and what is supported.</exception>
    public static GenerationDefaults Load(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        string file = Path.Combine(directory, FileName);
        if (!File.Exists(file))
            return None;
        JsonSource json = JsonSource.Load(file);
        return new GenerationDefaults
        {
            StopTokenIds = ParseStopTokens(json),
            // Neither is ever used, so that no number of theirs is wrong.
            BeginTokenId = json.OptionalInteger("bos_token_id", int.MinValue),
            PaddingTokenId = json.OptionalInteger("pad_token_id", int.MinValue),
            Sample = json.Boolean("do_sample"),
            Temperature = json.OptionalNumber("temperature", "a number of 0 or more", number => number >= 0),
            TopP = json.OptionalNumber("top_p", "a number above 0 and up to 1", number => number is > 0 and <= 1),
            TopK = json.OptionalInteger("top_k"),
            MinP = json.OptionalNumber("min_p", "a number from 0 to 1", number => number is >= 0 and <= 1),
            RepetitionPenalty = json.OptionalNumber("repetition_penalty", "a positive number", number => number > 0),
            MaxOutputTokens = json.OptionalInteger("max_new_tokens", 1),
            MinOutputTokens = json.OptionalInteger("min_new_tokens"),
            SuppressedTokenIds = json.Integers("suppress_tokens", int.MinValue),
            Ignored = [.. GenerationMembers.Ignored(json)],
        };
    }

    /// <summary>
    /// The tokens that end a text. Below 0 there is no token: that is how some files say that there is none.
    /// </summary>
    internal static ImmutableArray<int> ParseStopTokens(JsonSource json) =>
        [.. json.Integers("eos_token_id", int.MinValue).Where(token => token >= 0)];

    /// <summary>The text of <c>generation_config.json</c>; <see cref="Load"/> reads it back to an equal record.</summary>
    public string ToJson()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            if (!StopTokenIds.IsDefaultOrEmpty)
                ModelConfigurationJson.WriteIds(json, "eos_token_id", StopTokenIds);
            Write(json, "bos_token_id", BeginTokenId);
            Write(json, "pad_token_id", PaddingTokenId);
            if (Sample is { } sample)
                json.WriteBoolean("do_sample", sample);
            Write(json, "temperature", Temperature);
            Write(json, "top_p", TopP);
            Write(json, "top_k", TopK);
            Write(json, "repetition_penalty", RepetitionPenalty);
            Write(json, "min_p", MinP);
            Write(json, "max_new_tokens", MaxOutputTokens);
            Write(json, "min_new_tokens", MinOutputTokens);
            if (!SuppressedTokenIds.IsDefaultOrEmpty)
                ModelConfigurationJson.WriteIds(json, "suppress_tokens", SuppressedTokenIds);
            foreach (IgnoredSetting setting in Ignored.IsDefault ? [] : Ignored)
            {
                json.WritePropertyName(setting.Name);
                json.WriteRawValue(setting.Value);
            }

            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    /// <inheritdoc/>
    public bool Equals(GenerationDefaults? other) =>
        other is not null && StopTokenIds.AsSpan().SequenceEqual(other.StopTokenIds.AsSpan())
            && BeginTokenId == other.BeginTokenId && PaddingTokenId == other.PaddingTokenId
        && Sample == other.Sample && Temperature == other.Temperature && TopP == other.TopP && TopK == other.TopK
        && RepetitionPenalty == other.RepetitionPenalty
        && MinP == other.MinP && MaxOutputTokens == other.MaxOutputTokens && MinOutputTokens == other.MinOutputTokens
        && SuppressedTokenIds.AsSpan().SequenceEqual(other.SuppressedTokenIds.AsSpan())
        && Ignored.AsSpan().SequenceEqual(other.Ignored.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() =>
        HashCode.Combine(BeginTokenId, Sample, Temperature, TopP, TopK, RepetitionPenalty, MaxOutputTokens);

    private static void Write(Utf8JsonWriter json, string name, double? value)
    {
        if (value is { } number)
            json.WriteNumber(name, number);
    }
}
