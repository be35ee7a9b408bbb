using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Models;

/// <summary>
/// A member that nobody reads is refused, unless it changes no number; what published files and transformers write is
/// read.
/// </summary>
public class ConfigurationMembersTests
{
    [Theory]
    [InlineData("internvl3-1b", "internvl3-1b", "InternVLChatModel")]
    [InlineData("internvl3-1b-tuned", "internvl3-1b", "InternVLChatModel")]
    [InlineData("38b-verbose", "skywork-r1v3-38b", "SkyworkR1VChatModel")]
    [InlineData("38b-hf", "internvl3-38b", "InternVLForConditionalGeneration")]
    public void FilesAsTheyArePublishedAreRead(string name, string member, string architecture)
    {
        using var folder = new TemporaryFolder();
        File.Copy(Golden.PathOf($"configs/{name}.json"), folder["config.json"]);
        ModelConfiguration read = ModelConfiguration.Load(folder.Path), expected = ModelFamily.Configuration(member);
        Assert.Equal((expected.Vision, expected.Language, architecture), (read.Vision, read.Language, read.Architecture));
        Assert.Empty(read.Warnings);
        // What is written is read back, in both forms.
        foreach (string json in (string[])[read.ToJson(), read.ToOriginalJson()])
        {
            folder.Write("config.json", json);
            Assert.Equal(read, ModelConfiguration.Load(folder.Path));
        }
    }

    [Theory]
    [InlineData("llm_config.attention_bias", "false", "supported: true")]
    [InlineData("llm_config.mlp_bias", "true", "supported: false")]
    [InlineData("llm_config.logit_scale", "0.0625", "supported: 1")]
    [InlineData("llm_config.attention_multiplier", "0.5", "supported: 0.125")]
    [InlineData("llm_config.layer_norm_eps", "1e-5", "supported: 9.99")]
    [InlineData("llm_config.final_logit_softcapping", "30.0", "it is not known")]
    [InlineData("llm_config.use_sliding_window", "true", "supported: false")]
    [InlineData("llm_config.use_mrope", "true", "supported: false")]
    [InlineData("llm_config.qk_layernorm", "true", "supported: false")]
    [InlineData("llm_config.pruned_heads", "{\"0\": [1, 2]}", "supported: {}")]
    [InlineData("llm_config.is_encoder_decoder", "true", "supported: false")]
    [InlineData("llm_config.moe_config", "{\"num_experts\": 8}", "it is not known")]
    [InlineData("llm_config.dual_chunk_attention_config", "{\"chunk_size\": 262144}", "it is not known")]
    [InlineData("quantization", "{\"bits\": 4, \"group_size\": 64}", "quantised")]
    [InlineData("vision_config.use_moe", "true", "supported: false")]
    [InlineData("vision_config.use_qk_norm", "true", "supported: false")]
    [InlineData("vision_config.attention_bias", "false", "supported: true")]
    [InlineData("vision_config.use_absolute_position_embeddings", "false", "supported: true")]
    [InlineData("vision_config.rope_theta", "10000.0", "it is not known")]
    [InlineData("vision_config.num_key_value_heads", "4", "supported: 16")]
    [InlineData("vision_config.window_size", "7", "it is not known")]
    [InlineData("use_llm_lora", "16", "supported: 0 or false")]
    [InlineData("use_backbone_lora", "8", "supported: 0 or false")]
    [InlineData("image_fold", "2", "it is not known")]
    [InlineData("hidden_size", "1536", "supported: 896")]
    [InlineData("image_seq_length", "64", "supported: 256")]
    [InlineData("vision_feature_layer", "-2", "supported: -1")]
    [InlineData("flash_relative_threshold", "0.6", "it is not known")]
    [InlineData("text_config", "{\"hidden_size\": 896}", "it is not known")]
    public void WhatAsksForSomethingElseIsRefusedByName(string field, string value, string supported)
    {
        string message = Assert.Throws<CheckpointException>(() => Load("internvl3-1b", (field, value))).Message;
        Assert.Contains($"'{field}'", message, StringComparison.Ordinal);
        Assert.Contains(supported, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llm_config.attention_bias", "true")]
    [InlineData("llm_config.mlp_bias", "false")]
    [InlineData("llm_config.logit_scale", "1.0")]
    [InlineData("llm_config.attention_multiplier", "0.125")]
    [InlineData("llm_config.layer_norm_eps", "1e-06")]
    [InlineData("llm_config.final_logit_softcapping", "null")]
    [InlineData("llm_config.sliding_window", "131072")]
    [InlineData("llm_config.anything", "null")]
    [InlineData("vision_config.use_qk_norm", "false")]
    [InlineData("vision_config.attention_bias", "true")]
    [InlineData("vision_config.num_key_value_heads", "16")]
    [InlineData("use_llm_lora", "false")]
    [InlineData("hidden_size", "896")]
    [InlineData("num_image_token", "256")]
    [InlineData("vision_feature_layer", "-1")]
    [InlineData("_commit_hash", "\"0123456789\"")]
    [InlineData("unsloth_fixed", "true")]
    public void WhatSaysTheSameOrNothingIsRead(string field, string value) =>
        Assert.Equal(Load("internvl3-1b"), Load("internvl3-1b", (field, value)));

    [Fact]
    public void SwitchesInTheOtherFormsNamesMustAgree()
    {
        Assert.Equal(Load("38b-hf"),
            Load("38b-hf", ("vision_config.qk_normalization", "true"), ("vision_config.qkv_bias", "false")));
        Assert.Contains("'vision_config.qkv_bias' is true; supported: false",
            Refused("38b-hf", ("vision_config.qkv_bias", "true")), StringComparison.Ordinal);
        Assert.Contains("'select_layer' is -4", Refused("38b-hf", ("select_layer", "-4")), StringComparison.Ordinal);
        Assert.Contains("'ps_version' is \"v1\"", Refused("38b-hf", ("ps_version", "\"v1\"")), StringComparison.Ordinal);
        Assert.Equal(151667, Load("internvl3-1b", ("image_token_id", "151667")).ImageTokenId);
        foreach (string name in (string[])["internvl3-1b", "38b-hf"])
            Assert.Contains("'img_context_token_id' is 5 and 'image_token_id' is 6",
                Refused(name, ("img_context_token_id", "5"), ("image_token_id", "6")), StringComparison.Ordinal);
    }

    [Fact]
    public void TheImageProcessorsMembersAreKnownToo()
    {
        const string Published = """
            { "crop_size": null, "crop_to_patches": false, "data_format": "channels_first", "default_to_square": true, "device": null, "disable_grouping": null, "do_center_crop": null,
              "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "GotOcr2ImageProcessorFast",
              "image_std": [0.229, 0.224, 0.225], "input_data_format": null, "max_patches": 12, "min_patches": 1, "processor_class": "InternVLProcessor", "resample": 3,
              "rescale_factor": 0.00392156862745098, "return_tensors": null, "size": { "height": 448, "width": 448 } }
            """;
        Assert.Equal(new ImagePreprocessing(), LoadProcessor(Published).Preprocessing);
        foreach ((string field, string value) in (ReadOnlySpan<(string, string)>)[("size", "448"),
            ("size", "{\"shortest_edge\": 448}"), ("do_center_crop", "true")])
            Assert.Equal(new ImagePreprocessing(),
                LoadProcessor(Edit(Published, [(field, value), ("crop_size", "448")])).Preprocessing);
        foreach ((string field, string value) in (ReadOnlySpan<(string, string)>)[
            ("do_normalize", "false"), ("do_rescale", "false"), ("rescale_factor", "0.0078125"), ("do_resize", "false"),
            ("size", "224"), ("size", "{\"shortest_edge\": 336}"), ("do_pad", "true"),
            ("use_thumbnail", "false"), ("do_sharpen", "true"), ("resample", "2")])
            Assert.Contains(field,
                Assert.Throws<CheckpointException>(() => LoadProcessor(Edit(Published, [(field, value)]))).Message,
                StringComparison.Ordinal);
        Assert.Contains("'crop_size' is 224×224",
            Assert.Throws<CheckpointException>(() =>
                LoadProcessor(Edit(Published, [("do_center_crop", "true"), ("crop_size", "224")]))).Message,
                    StringComparison.Ordinal);

        static ModelConfiguration LoadProcessor(string json)
        {
            using var folder = new TemporaryFolder();
            File.Copy(Golden.PathOf("configs/38b-hf.json"), folder["config.json"]);
            folder.Write("preprocessor_config.json", json);
            return ModelConfiguration.Load(folder.Path);
        }
    }

    private static string Refused(string name, params (string Field, string Value)[] edits) =>
        Assert.Throws<CheckpointException>(() => Load(name, edits)).Message;

    private static ModelConfiguration Load(string name, params (string Field, string Value)[] edits)
    {
        using var folder = new TemporaryFolder();
        folder.Write("config.json", Edit(File.ReadAllText(Golden.PathOf($"configs/{name}.json")), edits));
        return ModelConfiguration.Load(folder.Path);
    }

    private static string Edit(string json, (string Field, string Value)[] edits)
    {
        JsonNode root = JsonNode.Parse(json)!;
        foreach ((string field, string value) in edits)
        {
            string[] path = field.Split('.');
            path[..^1].Aggregate(root, (node, name) => node[name]!)[path[^1]] = JsonNode.Parse(value);
        }

        return root.ToJsonString();
    }
}
