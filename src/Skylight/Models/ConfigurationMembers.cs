using System.Collections.Frozen;
using System.Globalization;
using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Quantized;

namespace Skylight.Models;

/// <summary>
/// The members that an object of a configuration may have. Such objects decide what a model computes, so a member that
/// nobody reads is refused, unless it is known to change no number, says null, or says what is computed anyway.
/// </summary>
/// <param name="read">Names of members that somebody reads.</param>
/// <param name="idle">Names of members that change no number here, beside those of every configuration of
/// transformers.</param>
/// <param name="single">Members of which one value is supported: its JSON, or several with bars between.</param>
internal sealed class ConfigurationMembers(string[] read, string[] idle, (string Name, string Value)[] single)
{
    // What transformers writes into any configuration, or its programs for training: names, types and kernels;
    // regularisation and initialisation, which are for training; what an encoder-decoder or a classifier would need.
    private static readonly FrozenSet<string> s_everywhere = FrozenSet.Create(
        StringComparer.Ordinal,
        "_name_or_path", "_commit_hash", "_attn_implementation", "_attn_implementation_autoset",
        "_attn_implementation_internal", "_experts_implementation", "_experts_implementation_internal",
        "attn_implementation", "experts_implementation", "use_flash_attn", "use_flash_attention", "architectures",
        "auto_map", "model_type", "transformers_version", "torch_dtype", "dtype",
        "use_bfloat16", "torchscript", "return_dict", "use_return_dict", "output_attentions", "output_hidden_states",
        "output_router_logits", "tf_legacy_loss", "use_cache",
        "chunk_size_feed_forward", "is_decoder", "is_composition", "cross_attention_hidden_size", "tie_encoder_decoder",
        "finetuning_task", "id2label", "label2id", "num_labels", "problem_type",
        "task_specific_params", "tokenizer_class", "prefix", "bos_token_id", "eos_token_id", "pad_token_id",
        "sep_token_id", "cls_token_id", "decoder_start_token_id", "gradient_checkpointing",
        "use_gradient_checkpointing", "keys_to_ignore_at_inference", "initializer_range", "initializer_factor",
        "attention_dropout", "attention_probs_dropout_prob", "dropout", "drop_path_rate",
        "hidden_dropout", "hidden_dropout_prob", "projection_dropout", "embd_pdrop", "resid_pdrop", "attn_pdrop",
        "classifier_dropout", "base_model_tp_plan", "base_model_pp_plan",
        "base_model_ep_plan", "tp_plan", "pretraining_tp", "unsloth_fixed", "unsloth_version", "seq_length",
        "skylight_model_type");

    private static readonly (string Name, string Value)[] s_singleEverywhere =
        [("pruned_heads", "{}"), ("is_encoder_decoder", "false"), ("add_cross_attention", "false")];

    private readonly FrozenSet<string> _passed = s_everywhere.Union(read).Union(idle).Union(GenerationMembers.Names)
        .Union(QuantizedForm.Fields)
        .ToFrozenSet(StringComparer.Ordinal);
    private readonly FrozenDictionary<string, string> _single = s_singleEverywhere.Concat(single)
        .ToFrozenDictionary(pair => pair.Name, pair => pair.Value, StringComparer.Ordinal);

    /// <summary>Refuses members that are not known, and known ones that ask for something else than is computed.</summary>
    /// <param name="json">The object.</param>
    /// <param name="computed">Members that may say again what other members say, with what these say.</param>
    /// <exception cref="CheckpointException">Names the member, its value and what is supported.</exception>
    public void Check(JsonSource json, params ReadOnlySpan<(string Name, double Value)> computed)
    {
        foreach (JsonProperty member in json.Element.EnumerateObject())
        {
            if (member.Value.ValueKind == JsonValueKind.Null || _passed.Contains(member.Name))
                continue;
            if (_single.TryGetValue(member.Name, out string? supported))
            {
                if (!supported.Split('|').Any(value => Says(member.Value, value)))
                    throw Error(json, member, $"supported: {supported.Replace("|", " or ", StringComparison.Ordinal)}.");
                continue;
            }

            if (!IsComputed(json, member, computed))
                throw Error(json, member,
                    "it is not known which numbers of the model it changes. If it changes none, take it out of the " +
                    "file; else this model is not supported.");
        }
    }

    /// <summary>
    /// Whether a value is the one that a text of JSON says: a number, a word, or a list or object without members.
    /// </summary>
    public static bool Says(JsonElement value, string json) => value.ValueKind switch
    {
        JsonValueKind.Number => double.TryParse(json, NumberStyles.Float, CultureInfo.InvariantCulture,
            out double number) && value.TryGetDouble(out double found) && found == number,
        JsonValueKind.String => json.StartsWith('"') && value.ValueEquals(json.AsSpan(1, json.Length - 2)),
        JsonValueKind.Array => json == "[]" && value.GetArrayLength() == 0,
        JsonValueKind.Object => json == "{}" && !value.EnumerateObject().Any(),
        JsonValueKind.True => json == "true",
        JsonValueKind.False => json == "false",
        _ => json == "null",
    };

    /// <summary>A value for an error or a warning.</summary>
    public static string Shorten(string json) => json.Length <= 80 ? json : json[..80] + "…";

    private static bool IsComputed(JsonSource json, JsonProperty member, ReadOnlySpan<(string Name, double Value)> computed)
    {
        foreach ((string name, double value) in computed)
        {
            if (name != member.Name)
                continue;
            // What was kept in float32 has lost some digits.
            if (member.Value.ValueKind != JsonValueKind.Number || !member.Value.TryGetDouble(out double found)
                || !(Math.Abs(found - value) <= 1e-6 * Math.Abs(value)))
                throw Error(json, member,
                    string.Create(CultureInfo.InvariantCulture,
                        $"supported: {value:R}, as follows from the other members."));
            return true;
        }

        return false;
    }

    private static CheckpointException Error(JsonSource json, JsonProperty member, string supported) =>
        new(json.File, $"'{json.Path}{member.Name}' is {Shorten(member.Value.GetRawText())}; {supported}");
}
