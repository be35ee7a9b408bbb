using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Models;

/// <summary>How positions are encoded is read from every spelling, and never taken for another number.</summary>
public class RopeParametersTests
{
    private const string Default = """{ "rope_type": "default", "rope_theta": 5e5 }""",
        Dynamic = """{ "rope_type": "dynamic", "factor": 2, "rope_theta": 5e5 }""";

    [Fact]
    public void YarnInsideParametersByLayerTypeIsSeen()
    {
        using var folder = new TemporaryFolder();
        File.Copy(Golden.PathOf("faults/config-rope-nested.json"), folder["config.json"]);
        LanguageConfiguration language = ModelConfiguration.Load(folder.Path).Language;
        Assert.Equal((1e6, RopeScalingKind.Yarn, 4.0),
            (language.RopeTheta, language.RopeScaling!.Kind, language.RopeScaling.Factor));
        folder.Write("config.json",
            File.ReadAllText(folder["config.json"]).Replace("\"yarn\"", "\"longrope\"", StringComparison.Ordinal));
        string message = Assert.Throws<CheckpointException>(() => ModelConfiguration.Load(folder.Path)).Message;
        Assert.Contains(
            "'llm_config.rope_parameters.full_attention.rope_type' is 'longrope'; supported: 'default', " +
            "'dynamic', 'yarn'", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{ }""", 10000, null)]
    [InlineData("""{ "rope_theta": 5e5 }""", 5e5, null)]
    [InlineData("""{ "rope_theta": 500000, "rope_scaling": null, "rope_parameters": null }""", 5e5, null)]
    [InlineData("""{ "rope_theta": 5e5, "rope_scaling": { "type": "dynamic", "factor": 2.0 } }""", 5e5, 2.0)]
    [InlineData(
        """{ "rope_theta": 5e5, "rope_scaling": { "type": "dynamic", "rope_type": "dynamic", "factor": 2.0 } }""", 5e5, 2.0)]
    [InlineData("""{ "rope_theta": 5e5, "rope_scaling": {} }""", 5e5, null)]
    [InlineData($$"""{ "rope_parameters": {{Default}} }""", 5e5, null)]
    [InlineData($$"""{ "rope_scaling": {{Dynamic}} }""", 5e5, 2.0)]
    [InlineData(
        $$"""{ "rope_theta": 5e5, "rope_scaling": { "type": "dynamic", "factor": 2 }, "rope_parameters": {{Dynamic}} }""", 5e5, 2.0)]
    [InlineData("""{ "rope_scaling": { "type": "dynamic", "factor": 2 }, "rope_parameters": { "rope_theta": 5e5 } }""",
        5e5, 2.0)]
    [InlineData($$"""{ "rope_parameters": { "full_attention": {{Dynamic}} } }""", 5e5, 2.0)]
    [InlineData($$"""{ "rope_scaling": { "full_attention": {{Dynamic}} } }""", 5e5, 2.0)]
    [InlineData(
        $$"""{ "rope_theta": 5e5, "rope_parameters": { "full_attention": { "rope_type": "default" }, "sliding_attention": null } }""", 5e5, null)]
    [InlineData($$"""{ "rope_parameters": { "full_attention": {{Default}}, "sliding_attention": {{Default}} } }""", 5e5,
        null)]
    [InlineData(
        $$"""{ "layer_types": ["full_attention"], "rope_parameters": { "full_attention": {{Default}}, "sliding_attention": { "rope_type": "yarn", "factor": 4, "rope_theta": 1e4 } } }""", 5e5, null)]
    [InlineData(
        """{ "rope_parameters": { "rope_type": "default", "rope_theta": 5e5, "factor": 1.0, "partial_rotary_factor": 1.0, "attention_factor": null, "original_max_position_embeddings": 4096 } }""", 5e5, null)]
    public void EverySpellingIsRead(string language, double theta, double? factor)
    {
        LanguageConfiguration read = Load(language).Language;
        Assert.Equal((theta, factor), (read.RopeTheta, read.RopeScaling?.Factor));
        Assert.Equal(factor is null ? null : RopeScalingKind.Dynamic, read.RopeScaling?.Kind);
        Assert.Equal(4096, read.MaxPositions);
    }

    [Theory]
    [InlineData("""{ "rope_scaling": { "type": "yarn" } }""", "'llm_config.rope_scaling.factor' is missing")]
    [InlineData("""{ "rope_scaling": { "type": "yarn", "factor": 0.5 } }""", "a number from 1 to 1024")]
    [InlineData("""{ "rope_scaling": { "type": "yarn", "factor": 4, "beta_fast": 1, "beta_slow": 2 } }""",
        "'llm_config.rope_scaling.beta_fast' is 1 and 'llm_config.rope_scaling.beta_slow' is 2")]
    [InlineData("""{ "rope_scaling": { "type": "yarn", "factor": 4, "attention_factor": -1 } }""", "a positive number")]
    [InlineData("""{ "rope_scaling": { "type": "yarn", "factor": 4, "truncate": 1 } }""", "true or false")]
    [InlineData("""{ "rope_theta": 0.5, "rope_scaling": { "type": "yarn", "factor": 4 } }""", "YaRN takes its logarithm")]
    [InlineData("""{ "rope_scaling": { "type": "yarn", "factor": 4, "long_factor": [1] } }""",
        "'llm_config.rope_scaling.long_factor'")]
    [InlineData(
        """{ "rope_scaling": { "type": "yarn", "factor": 4 }, "rope_parameters": { "rope_type": "yarn", "factor": 4, "truncate": false } }""", "which contradict each other")]
    [InlineData("""{ "rope_scaling": { "type": "dynamic", "factor": 2, "original_max_position_embeddings": 8192 } }""",
        "'llm_config.rope_scaling.original_max_position_embeddings' is 8192; supported: at most")]
    [InlineData("""{ "rope_scaling": { "rope_type": "longrope", "short_factor": [1], "long_factor": [1] } }""",
        "'llm_config.rope_scaling.rope_type' is 'longrope'")]
    [InlineData("""{ "rope_parameters": { "rope_type": "llama3", "factor": 8, "rope_theta": 5e5 } }""",
        "'llm_config.rope_parameters.rope_type' is 'llama3'")]
    [InlineData("""{ "rope_parameters": { "rope_type": "linear", "factor": 2 } }""",
        "'linear'; supported: 'default', 'dynamic', 'yarn'")]
    [InlineData("""{ "rope_scaling": { "type": "mrope", "mrope_section": [16, 24, 24] } }""", "'mrope'")]
    [InlineData("""{ "rope_scaling": { "type": "default", "mrope_section": [16, 24, 24] } }""",
        "'llm_config.rope_scaling.mrope_section' is [16,24,24]; it is not known")]
    [InlineData("""{ "rope_scaling": { "type": "dynamic", "rope_type": "default", "factor": 2 } }""",
        "'llm_config.rope_scaling.type' is 'dynamic'; supported: one of them")]
    [InlineData("""{ "rope_scaling": { "type": "dynamic" } }""", "'llm_config.rope_scaling.factor' is missing")]
    [InlineData("""{ "rope_scaling": { "factor": 2 } }""",
        "'llm_config.rope_scaling.factor' is 2, but 'rope_type' is missing")]
    [InlineData("""{ "rope_parameters": { "rope_type": "default", "factor": 4, "rope_theta": 1e6 } }""",
        "factor' is 4, but 'rope_type' is 'default'")]
    [InlineData("""{ "rope_scaling": { "type": "dynamic", "factor": 0 } }""", "a number from 1 to 1024")]
    [InlineData("""{ "rope_theta": 5e5, "rope_parameters": { "rope_theta": 1e6 } }""",
        "'llm_config.rope_theta' is 500000 and 'llm_config.rope_parameters.rope_theta' is 1000000, which contradict " +
        "each other")]
    [InlineData($$"""{ "rope_theta": 1e4, "rope_parameters": { "full_attention": {{Default}} } }""",
        "'llm_config.rope_parameters.full_attention.rope_theta' is 500000, which contradict")]
    [InlineData($$"""{ "rope_scaling": { "type": "dynamic", "factor": 2 }, "rope_parameters": {{Default}} }""",
        "'llm_config.rope_scaling.rope_type' is 'dynamic' and 'llm_config.rope_parameters.rope_type' is 'default', " +
        "which contradict")]
    [InlineData($$"""{ "rope_scaling": { "type": "dynamic", "factor": 4 }, "rope_parameters": {{Dynamic}} }""",
        "factor' is 4 and 'llm_config.rope_parameters.factor' is 2")]
    [InlineData($$"""{ "rope_parameters": { "sliding_attention": {{Default}} } }""",
        "'llm_config.rope_parameters.full_attention' is missing")]
    [InlineData(
        $$"""{ "rope_parameters": { "full_attention": {{Default}}, "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 } } }""", "'llm_config.rope_parameters.sliding_attention' has other parameters")]
    [InlineData($$"""{ "rope_parameters": { "full_attention": {{Default}}, "sliding_attention": {{Dynamic}} } }""",
        "'llm_config.rope_parameters.sliding_attention' has other parameters")]
    [InlineData($$"""{ "rope_parameters": { "full_attention": {{Default}}, "rope_theta": 5e5 } }""",
        "'llm_config.rope_parameters.rope_theta' is 5e5 beside parameters by layer type")]
    [InlineData(
        $$"""{ "layer_types": ["full_attention", "sliding_attention"], "rope_parameters": { "full_attention": {{Default}}, "sliding_attention": {{Default}} } }""", "'llm_config.layer_types' is 'sliding_attention'")]
    [InlineData("""{ "rope_parameters": { "rope_theta": 5e5, "partial_rotary_factor": 0.5 } }""",
        "'llm_config.rope_parameters.partial_rotary_factor' is 0.5")]
    [InlineData("""{ "rope_parameters": { "rope_theta": 5e5, "attention_factor": 0.8 } }""", "attention_factor")]
    [InlineData("""{ "rope_parameters": { "rope_theta": 5e5, "original_max_position_embeddings": 2048 } }""",
        "'llm_config.rope_parameters.original_max_position_embeddings' is 2048; supported: 4096")]
    [InlineData("""{ "rope_parameters": { "rope_theta": 5e5, "beta_fast": 32 } }""", "beta_fast")]
    [InlineData("""{ "rope_parameters": { "rope_theta": "5e5" } }""", "'llm_config.rope_parameters.rope_theta'")]
    [InlineData("""{ "rope_parameters": [] }""", "an object")]
    [InlineData("""{ "rope_local_base_freq": 1e4 }""", "'llm_config.rope_local_base_freq'")]
    [InlineData("""{ "partial_rotary_factor": 0.25 }""", "'llm_config.partial_rotary_factor' is 0.25; supported: 1")]
    public void WhatCannotBeComputedIsRefusedByName(string language, string expected) =>
        Assert.Contains(expected, Assert.Throws<CheckpointException>(() => Load(language)).Message,
            StringComparison.Ordinal);

    [Theory]
    [InlineData("""{ "rope_scaling": { "type": "yarn", "factor": 4 } }""", 4, 4096, 16384)]
    [InlineData(
        """{ "rope_scaling": { "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048 } }""", 4,
        2048, 8192)]
    [InlineData(
        """{ "rope_scaling": { "rope_type": "yarn", "factor": 1.5, "original_max_position_embeddings": 2048 } }""", 1.5,
        2048, 4096)]
    [InlineData(
        """{ "rope_parameters": { "rope_type": "yarn", "factor": null, "original_max_position_embeddings": 1024, "rope_theta": 1e4 } }""", 4, 1024, 4096)]
    public void Yarn_reaches_as_far_as_its_factor(string language, double factor, int trained, int positions)
    {
        LanguageConfiguration read = Load(language).Language;
        Assert.Equal((new RopeScaling(RopeScalingKind.Yarn, factor, trained), positions),
            (read.RopeScaling, read.MaxPositions));
    }

    private static ModelConfiguration Load(string language)
    {
        JsonObject llm = JsonNode.Parse(
            """{ "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096 }""")!.AsObject();
        foreach ((string name, JsonNode? value) in JsonNode.Parse(language)!.AsObject())
            llm[name] = value?.DeepClone();
        using var folder = new TemporaryFolder();
        folder.Write("config.json", new JsonObject
        {
            ["model_type"] = "internvl_chat",
            ["ps_version"] = "v2",
            ["vision_config"] = new JsonObject { ["image_size"] = 448 },
            ["llm_config"] = llm,
        }.ToJsonString());
        return ModelConfiguration.Load(folder.Path);
    }
}
