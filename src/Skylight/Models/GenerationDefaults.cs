using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>What <c>generation_config.json</c> proposes; null where it says nothing. A program's own options go before it.</summary>
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

    /// <summary>How many tokens there are to choose from; 0 for all.</summary>
    public int? TopK { get; init; }

    /// <summary>What the logits of tokens that were there are divided by (where positive) or multiplied by; above 0.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>The most tokens to generate.</summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>Reads <c>generation_config.json</c> of a checkpoint folder.</summary>
    /// <param name="directory">The folder.</param>
    /// <returns><see cref="None"/> where there is no such file.</returns>
    /// <exception cref="CheckpointException">The file is not JSON or a value is impossible; names the field, what was found and what is supported.</exception>
    public static GenerationDefaults Load(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        string file = Path.Combine(directory, FileName);
        if (!File.Exists(file))
            return None;
        JsonSource json = JsonSource.Load(file);
        return new GenerationDefaults
        {
            StopTokenIds = json.Integers("eos_token_id"),
            BeginTokenId = json.OptionalInteger("bos_token_id"),
            PaddingTokenId = json.OptionalInteger("pad_token_id"),
            Sample = json.Boolean("do_sample"),
            Temperature = json.OptionalNumber("temperature", "a number of 0 or more", number => number >= 0),
            TopP = json.OptionalNumber("top_p", "a number above 0 and up to 1", number => number is > 0 and <= 1),
            TopK = json.OptionalInteger("top_k"),
            RepetitionPenalty = json.OptionalNumber("repetition_penalty", "a positive number", number => number > 0),
            MaxNewTokens = json.OptionalInteger("max_new_tokens", 1),
        };
    }

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
            Write(json, "max_new_tokens", MaxNewTokens);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    /// <inheritdoc/>
    public bool Equals(GenerationDefaults? other) =>
        other is not null && StopTokenIds.AsSpan().SequenceEqual(other.StopTokenIds.AsSpan()) && BeginTokenId == other.BeginTokenId && PaddingTokenId == other.PaddingTokenId
        && Sample == other.Sample && Temperature == other.Temperature && TopP == other.TopP && TopK == other.TopK && RepetitionPenalty == other.RepetitionPenalty
        && MaxNewTokens == other.MaxNewTokens;

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(BeginTokenId, Sample, Temperature, TopP, TopK, RepetitionPenalty, MaxNewTokens);

    private static void Write(Utf8JsonWriter json, string name, double? value)
    {
        if (value is { } number)
            json.WriteNumber(name, number);
    }
}
