using System.Collections.Frozen;
using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>
/// The members of <c>generation_config.json</c> that are not used, and at which values that changes no answer.
/// </summary>
internal static class GenerationMembers
{
    // The value is the JSON that changes nothing, or several with bars between; "" where any does. Null never changes
    // anything.
    private static readonly FrozenDictionary<string, string> s_unused = new (string Name, string Neutral)[]
    {
        ("num_beams", "1"), ("num_beam_groups", "1"), ("diversity_penalty", "0"), ("length_penalty", "1"),
        ("early_stopping", "false"), ("penalty_alpha", "0"), ("typical_p", "1"),
        ("epsilon_cutoff", "0"), ("eta_cutoff", "0"), ("top_h", "1"), ("no_repeat_ngram_size", "0"),
        ("encoder_no_repeat_ngram_size", "0"), ("encoder_repetition_penalty", "1"),
        ("presence_penalty", "0"), ("frequency_penalty", "0"), ("bad_words_ids", "[]"), ("begin_suppress_tokens", "[]"),
        ("forced_bos_token_id", "-1|[]"), ("forced_eos_token_id", "-1|[]"),
        ("forced_decoder_ids", "[]"), ("sequence_bias", "{}|[]"), ("constraints", "[]"), ("force_words_ids", "[]"),
        ("exponential_decay_length_penalty", "[]"), ("guidance_scale", "1|0"),
        // 20 is what transformers writes for a length that nobody set.
        ("max_length", "20"), ("min_length", "0"), ("stop_strings", "[]"), ("num_return_sequences", "1"),
        ("dola_layers", "[]"), ("watermarking_config", "{}"), ("token_healing", "false"),
        // Beams' scores only, a guard for models that fail, how results are returned, how a draft is made or a cache
        // held: no token differs.
        ("renormalize_logits", ""), ("remove_invalid_values", ""), ("output_scores", ""), ("output_logits", ""),
        ("output_attentions", ""), ("output_hidden_states", ""),
        ("return_dict_in_generate", ""), ("low_memory", ""), ("use_cache", ""), ("cache_implementation", ""),
        ("cache_config", ""), ("return_legacy_cache", ""), ("prefill_chunk_size", ""),
        ("compile_config", ""), ("disable_compile", ""), ("continuous_batching_config", ""),
        ("prompt_lookup_num_tokens", ""), ("max_matching_ngram_size", ""), ("is_assistant", ""),
        ("num_assistant_tokens", ""), ("num_assistant_tokens_schedule", ""), ("assistant_confidence_threshold", ""),
        ("assistant_early_exit", ""), ("assistant_lookbehind", ""),
        ("target_lookbehind", ""), ("use_mtp", ""), ("decoder_start_token_id", ""), ("generation_kwargs", "{}"),
        ("transformers_version", ""), ("_from_model_config", ""), ("_commit_hash", ""),
    }.ToFrozenDictionary(pair => pair.Name, pair => pair.Neutral, StringComparer.Ordinal);

    // What transformers 4 writes of generation into any configuration, at its default.
    private static readonly FrozenDictionary<string, string> s_legacy = new (string Name, string Neutral)[]
    {
        ("do_sample", "false"), ("temperature", "1"), ("top_k", "50|0"), ("top_p", "1"), ("repetition_penalty", "1"),
        ("suppress_tokens", "[]"),
    }.ToFrozenDictionary(pair => pair.Name, pair => pair.Neutral, StringComparer.Ordinal);

    private static readonly FrozenSet<string> s_used = FrozenSet.Create(
        StringComparer.Ordinal,
        "eos_token_id", "bos_token_id", "pad_token_id", "do_sample", "temperature", "top_p", "top_k", "min_p",
        "repetition_penalty", "max_new_tokens", "min_new_tokens", "suppress_tokens");

    /// <summary>Members that a model's own configuration may have as well.</summary>
    public static IEnumerable<string> Names => s_unused.Keys.Concat(s_legacy.Keys);

    /// <summary>
    /// What a <c>generation_config.json</c> asks for and is not done; members that are not known are among it.
    /// </summary>
    public static IEnumerable<IgnoredSetting> Ignored(JsonSource json) =>
        json.Element.EnumerateObject().Where(member => !s_used.Contains(member.Name) && !IsNeutral(member, s_unused))
            .Select(member => new IgnoredSetting(member.Name, member.Value.GetRawText()));

    /// <summary>
    /// What a model's own configuration asks for of generation, as transformers 4 wrote it there: that is not done,
    /// because the file for it is
    /// <c>generation_config.json</c>.
    /// </summary>
    public static IEnumerable<IgnoredSetting> IgnoredLegacy(JsonSource json) =>
        json.Element.EnumerateObject()
            .Where(member => s_unused.ContainsKey(member.Name) ? !IsNeutral(member, s_unused)
                : s_legacy.ContainsKey(member.Name) && !IsNeutral(member, s_legacy))
            .Select(member => new IgnoredSetting(json.Path + member.Name, member.Value.GetRawText()));

    private static bool IsNeutral(JsonProperty member, FrozenDictionary<string, string> members) =>
        member.Value.ValueKind == JsonValueKind.Null
        || (members.TryGetValue(member.Name, out string? neutral)
            && (neutral.Length == 0 || neutral.Split('|').Any(value => ConfigurationMembers.Says(member.Value, value))));
}

/// <summary>A setting that a file of a checkpoint has and that is not used.</summary>
/// <param name="Name">Its name, such as "num_beams".</param>
/// <param name="Value">Its value, as JSON.</param>
public readonly record struct IgnoredSetting(string Name, string Value)
{
    internal string Describe(string file) =>
        $"{file} says '{Name}' is {ConfigurationMembers.Shorten(Value)}; that is not used, and answers are made without it.";
}
