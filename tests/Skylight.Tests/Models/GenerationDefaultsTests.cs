using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Models;

/// <summary>What <c>generation_config.json</c> says is used, changes nothing, or is named as not used.</summary>
public class GenerationDefaultsTests
{
    [Fact]
    public void WhatIsUsedIsReadAndWrittenBack()
    {
        GenerationDefaults read = Load("""
            { "do_sample": true, "min_p": 0.05, "min_new_tokens": 3, "suppress_tokens": [7, 8], "eos_token_id": [151645, -1, 151643], "num_beams": 4,
              "watermarking_config": { "bias":  2.5 }, "transformers_version": "4.55.0" }
            """);
        var expected = new GenerationDefaults
        {
            Sample = true,
            MinP = 0.05,
            MinOutputTokens = 3,
            SuppressedTokenIds = [7, 8],
            StopTokenIds = [151645, 151643],
            Ignored = [new("num_beams", "4"), new("watermarking_config", """{ "bias":  2.5 }""")],
        };
        Assert.Equal(expected, read);
        Assert.Equal(read, Load(read.ToJson()));
        Assert.NotEqual(read, read with { Ignored = [] });
        Assert.NotEqual(read, read with { SuppressedTokenIds = [7] });
        Assert.NotEqual(read, read with { MinP = null });
    }

    [Theory]
    [InlineData("num_beams", "4", "1")]
    [InlineData("no_repeat_ngram_size", "3", "0")]
    [InlineData("penalty_alpha", "0.6", "0.0")]
    [InlineData("typical_p", "0.9", "1.0")]
    [InlineData("epsilon_cutoff", "0.0003", "0")]
    [InlineData("eta_cutoff", "0.0003", "0.0")]
    [InlineData("length_penalty", "0.8", "1.0")]
    [InlineData("early_stopping", "true", "false")]
    [InlineData("early_stopping", "\"never\"", "false")]
    [InlineData("forced_bos_token_id", "5", "-1")]
    [InlineData("forced_eos_token_id", "[5]", "null")]
    [InlineData("bad_words_ids", "[[5, 6]]", "[]")]
    [InlineData("begin_suppress_tokens", "[220]", "[]")]
    [InlineData("diversity_penalty", "0.5", "0.0")]
    [InlineData("guidance_scale", "1.5", "1")]
    [InlineData("encoder_no_repeat_ngram_size", "2", "0")]
    [InlineData("exponential_decay_length_penalty", "[10, 1.1]", "null")]
    [InlineData("max_length", "8192", "20")]
    [InlineData("stop_strings", "[\"END\"]", "null")]
    [InlineData("sequence_bias", "{\"5\": -1}", "{}")]
    [InlineData("num_return_sequences", "2", "1")]
    [InlineData("temprature", "0.3", "null")]
    public void WhatIsNotUsedIsNamedUnlessItChangesNothing(string name, string value, string neutral)
    {
        Assert.Equal([new IgnoredSetting(name, value)], Load($$"""{ "{{name}}": {{value}} }""").Ignored);
        Assert.Empty(Load($$"""{ "{{name}}": {{neutral}} }""").Ignored);
        using var folder = new TemporaryFolder();
        folder.Write("config.json", CheckpointFixture.Small().ToJson());
        folder.Write("generation_config.json", $$"""{ "{{name}}": {{value}} }""");
        ModelConfiguration configuration = ModelConfiguration.Load(folder.Path);
        Assert.Equal(
            [$"generation_config.json says '{name}' is {value}; that is not used, and answers are made without it."],
            configuration.Warnings);
        // A saved checkpoint says it still.
        RandomCheckpoint.Write(folder["saved"], configuration, StoredType.Float32, 1);
        Assert.Equal(configuration.Warnings, ModelConfiguration.Load(folder["saved"]).Warnings);
    }

    [Theory]
    [InlineData("pad_token_id", "-1")]
    [InlineData("pad_token_id", "2147483647")]
    [InlineData("bos_token_id", "-1")]
    [InlineData("eos_token_id", "-1")]
    [InlineData("eos_token_id", "[]")]
    [InlineData("suppress_tokens", "[-1]")]
    [InlineData("suppress_tokens", "null")]
    [InlineData("decoder_start_token_id", "-1")]
    [InlineData("output_scores", "true")]
    [InlineData("use_cache", "false")]
    [InlineData("cache_implementation", "\"static\"")]
    [InlineData("_from_model_config", "true")]
    public void WhatHasNoConsequenceStopsNothing(string name, string value)
    {
        GenerationDefaults read = Load($$"""{ "{{name}}": {{value}} }""");
        Assert.Empty(read.Ignored);
        Assert.Empty(read.StopTokenIds);
        Assert.Equal(read, Load(read.ToJson()));
    }

    [Theory]
    [InlineData("min_p", "1.5")]
    [InlineData("min_p", "-0.1")]
    [InlineData("min_new_tokens", "-1")]
    [InlineData("suppress_tokens", "[\"x\"]")]
    [InlineData("pad_token_id", "\"x\"")]
    [InlineData("eos_token_id", "[1.5]")]
    public void ImpossibleValuesAreRefusedByName(string name, string value) =>
        Assert.Contains($"'{name}'", Assert.Throws<CheckpointException>(() => Load($$"""{ "{{name}}": {{value}} }"""))
            .Message, StringComparison.Ordinal);

    [Fact]
    public void GenerationInTheModelsOwnConfigurationCountsOnlyWithoutTheFileForIt()
    {
        using var folder = new TemporaryFolder();
        string text = File.ReadAllText(Golden.PathOf("configs/38b-verbose.json"));
        folder.Write("config.json",
            text.Replace("\"repetition_penalty\": 1.0", "\"repetition_penalty\": 1.2", StringComparison.Ordinal));
        Assert.Equal(
            ["config.json says 'llm_config.repetition_penalty' is 1.2; that is not used, and answers are made " +
                "without it."], ModelConfiguration.Load(folder.Path).Warnings);
        folder.Write("generation_config.json", """{ "eos_token_id": 151645 }""");
        Assert.Empty(ModelConfiguration.Load(folder.Path).Warnings);
    }

    private static GenerationDefaults Load(string json)
    {
        using var folder = new TemporaryFolder();
        folder.Write("generation_config.json", json);
        return GenerationDefaults.Load(folder.Path);
    }
}
