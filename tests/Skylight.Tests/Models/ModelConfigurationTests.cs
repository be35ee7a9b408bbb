using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Models;

public class ModelConfigurationTests
{
    private const string Original = """
        { "architectures": ["InternVLChatModel"], "model_type": "internvl_chat", "downsample_ratio": 0.5, "force_image_size": 56, "ps_version": "v2", "select_layer": -1,
          "vision_config": { "model_type": "intern_vit_6b", "hidden_act": "gelu", "hidden_size": 48, "image_size": 56, "intermediate_size": 96, "layer_norm_eps": 1e-06,
            "norm_type": "layer_norm", "num_attention_heads": 3, "num_channels": 3, "num_hidden_layers": 3, "patch_size": 14, "qk_normalization": false, "qkv_bias": true },
          "llm_config": { "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 112, "max_position_embeddings": 32768,
            "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
            "rope_scaling": { "factor": 2.0, "rope_type": "dynamic", "type": "dynamic" }, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 512 } }
        """;

    private const string HuggingFace = """
        { "architectures": ["InternVLForConditionalGeneration"], "model_type": "internvl", "downsample_ratio": 0.5, "image_seq_length": 4, "image_token_id": 505, "projector_hidden_act": "gelu",
          "vision_feature_layer": -1, "vision_feature_select_strategy": "default", "tie_word_embeddings": false,
          "vision_config": { "model_type": "internvl_vision", "hidden_act": "gelu", "hidden_size": 48, "image_size": [56, 56], "intermediate_size": 96, "layer_norm_eps": 1e-06,
            "norm_type": "layer_norm", "num_attention_heads": 3, "num_channels": 3, "num_hidden_layers": 3, "patch_size": [14, 14], "use_qk_norm": false, "attention_bias": true },
          "text_config": { "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 112, "max_position_embeddings": 32768, "num_attention_heads": 4,
            "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_parameters": { "rope_theta": 1000000.0, "rope_type": "dynamic", "factor": 2.0 }, "vocab_size": 512 } }
        """;

    [Theory]
    [InlineData("vit300m-style/hf", NormKind.LayerNorm, false, true, 48, 56, 505)]
    [InlineData("vit300m-style/original", NormKind.LayerNorm, false, true, 48, 56, null)]
    [InlineData("vit6b-style/hf", NormKind.RmsNorm, true, false, 60, 84, 633)]
    [InlineData("vit6b-style/original", NormKind.RmsNorm, true, false, 60, 84, null)]
    public void GoldenConfigurationsAreRead(string directory, NormKind norm, bool queryKeyNorm, bool qkvBias,
        int visionWidth, int image, int? imageToken)
    {
        ModelConfiguration configuration = ModelConfiguration.Load(Golden.PathOf(directory));

        Assert.Equal((norm, queryKeyNorm, qkvBias, visionWidth, image, image),
            (configuration.Vision.NormKind, configuration.Vision.QueryKeyNorm, configuration.Vision.QkvBias,
                configuration.Vision.HiddenSize, configuration.Vision.ImageHeight, configuration.Vision.ImageWidth));
        Assert.Equal(imageToken, configuration.ImageTokenId);
        Assert.Equal(1e6, configuration.Language.RopeTheta);
        Assert.Equal(1e-6f, configuration.Language.RmsNormEpsilon);
        Assert.Equal(16, configuration.Language.HeadDimension);
        Assert.Equal(image / 28 * (image / 28), configuration.TokensPerTile);
    }

    [Fact]
    public void PreprocessingAndTemplateAreReadFromTheOriginalForm()
    {
        ModelConfiguration plain = Load(Original);
        // The class's own defaults.
        Assert.Equal(new ImagePreprocessing { IsTiled = false, MaximumTiles = 6, HasThumbnail = false },
            plain.Preprocessing);
        Assert.Equal(("internvl_chat", null, null, null),
            (plain.ModelType, plain.Template, plain.SystemMessage, plain.WeightType));
        ModelConfiguration chat = Load(Edit(Original, ("dynamic_image_size", "true"), ("max_dynamic_patch", "12"),
            ("min_dynamic_patch", "2"), ("use_thumbnail", "true"), ("template", "\"internvl2_5\""),
            ("system_message", "\"Be brief.\""), ("torch_dtype", "\"bfloat16\""), ("pad2square", "false")));
        Assert.Equal(new ImagePreprocessing { MinimumTiles = 2 }, chat.Preprocessing);
        Assert.Equal(("internvl2_5", "Be brief.", "bfloat16"), (chat.Template, chat.SystemMessage, chat.WeightType));
        AssertRefused(Edit(Original, ("pad2square", "true")), "'pad2square'", "true", "false");
        AssertRefused(Edit(Original, ("min_dynamic_patch", "13"), ("max_dynamic_patch", "12")), "'min_dynamic_patch'",
            "13", "12");
        AssertRefused(Edit(Original, ("use_thumbnail", "1")), "'use_thumbnail'", "true or false");
    }

    [Theory]
    [InlineData("preprocessor_config.json", "")]
    [InlineData("processor_config.json", "\"image_processor\": ")]
    public void PreprocessingIsReadFromTheImageProcessor(string name, string field)
    {
        using var folder = new TemporaryFolder();
        folder.Write("config.json", Edit(HuggingFace, ("dtype", "\"float16\"")));
        Write("""{ "crop_to_patches": false, "min_patches": 1, "max_patches": 8, "image_mean": [0.5, 0.25, 0.75], "image_std": [0.5, 0.5, 0.5], "size": { "height": 56, "width": 56 }, "resample": 3 }""");
        ModelConfiguration configuration = ModelConfiguration.Load(folder.Path);
        Assert.Equal(new ImagePreprocessing
        {
            MaximumTiles = 8,
            Mean = new(0.5, 0.25, 0.75),
            Deviation = new(0.5, 0.5, 0.5),
        }, configuration.Preprocessing);
        Assert.Equal("float16", configuration.WeightType);
        foreach ((string json,
            string part) in (ReadOnlySpan<(string, string)>)[("""{ "size": { "height": 448, "width": 448 } }""", "448"),
            ("""{ "resample": 2 }""", "bicubic"), ("""{ "image_std": [1, 0, 1] }""", "positive"),
            ("""{ "image_mean": [1, 0] }""", "2 numbers"), ("""{ "image_mean": ["a"] }""", "a number")])
        {
            Write(json);
            Assert.Contains(part, Assert.Throws<CheckpointException>(() => ModelConfiguration.Load(folder.Path))
                .Message, StringComparison.Ordinal);
        }

        void Write(string json) => folder.Write(name, field.Length == 0 ? json : $"{{ {field}{json} }}");
    }

    [Theory]
    [InlineData("InternLM3ForCausalLM", "internlm3")]
    [InlineData("InternLM2ForCausalLM", "internlm2")]
    [InlineData("LlamaForCausalLM", "llama")]
    [InlineData("Qwen3MoeForCausalLM", "qwen3_moe")]
    [InlineData("GptOssForCausalLM", "gpt_oss")]
    [InlineData("Phi3ForCausalLM", "phi3")]
    public void OtherLanguageModelsAreNamedWithWhatIsSupported(string architecture, string modelType)
    {
        AssertRefused(Edit(Original, ("llm_config.architectures", $"[\"{architecture}\"]"),
            ("llm_config.model_type", $"\"{modelType}\"")), architecture, "Qwen2ForCausalLM", "Qwen3ForCausalLM",
                "InternVL3 (1B", "InternVL3.5 (1B, 2B, 4B, 8B, 14B, 38B; not those with experts)", "Skywork-R1V3");
        AssertRefused(Edit(HuggingFace, ("text_config.model_type", $"\"{modelType}\"")), modelType, "qwen2",
            "InternVL3 (1B");
    }

    [Theory]
    [InlineData("\"qwen2\"", "[\"Qwen3ForCausalLM\"]", "'llm_config.model_type' is 'qwen2'")]
    [InlineData("\"qwen3\"", "[\"Qwen2ForCausalLM\"]", "'llm_config.model_type' is 'qwen3'")]
    [InlineData("null", "[\"Qwen2ForCausalLM\", \"Qwen3ForCausalLM\"]", "names classes of qwen2 and of qwen3")]
    public void Type_and_class_of_the_language_model_must_agree(string modelType, string architectures, string expected) =>
        AssertRefused(Edit(Original, ("llm_config.model_type", modelType), ("llm_config.architectures", architectures)),
            expected);

    [Fact]
    public void Qwen3_is_told_by_type_or_class_and_has_its_own_defaults()
    {
        foreach (ModelConfiguration read in (ReadOnlySpan<ModelConfiguration>)[
            Load(Edit(Original, ("llm_config.model_type", "\"qwen3\""), ("llm_config.architectures", "null"))),
            Load(Edit(Original, ("llm_config.model_type", "null"), ("llm_config.architectures", "[\"Qwen3ForCausalLM\"]"))),
            Load(Edit(HuggingFace, ("text_config.model_type", "\"qwen3\"")))])
        {
            // The class has heads of 128 where the file says nothing, whatever hidden size and heads are.
            Assert.Equal((LanguageModelKind.Qwen3, true, false, 128),
                (read.Language.Kind, read.Language.QueryKeyNorm, read.Language.QkvBias, read.Language.HeadDimension));
            Assert.Equal(read with { Generation = GenerationDefaults.None }, Load(read.ToOriginalJson()));
            Assert.Equal(read with { Generation = GenerationDefaults.None }, Load(read.ToJson()));
        }

        AssertRefused(Edit(HuggingFace, ("text_config.model_type", "\"qwen3\""),
            ("text_config.attention_bias", "true")), "'text_config.attention_bias'", "true", "false");
        AssertRefused(Edit(HuggingFace, ("text_config.attention_bias", "false")), "'text_config.attention_bias'",
            "false", "true");
        AssertRefused(Edit(HuggingFace, ("text_config.model_type", "\"qwen3\""), ("text_config.use_qk_norm", "false")),
            "'text_config.use_qk_norm'", "false", "true");
        AssertRefused(Edit(HuggingFace, ("text_config.model_type", "\"qwen3\""), ("text_config.num_experts", "128")),
            "'text_config.num_experts'", "128");
    }

    /// <summary>The members of Qwen3Config with those of the family, as transformers writes them.</summary>
    [Fact]
    public void A_configuration_as_InternVL35_has_it_is_read()
    {
        ModelConfiguration read = Load("""
            { "architectures": ["InternVLChatModel"], "auto_map": { "AutoConfig": "configuration_internvl_chat.InternVLChatConfig", "AutoModel": "modeling_internvl_chat.InternVLChatModel" },
              "downsample_ratio": 0.5, "dynamic_image_size": true, "eos_token_id": 151645, "force_image_size": 448, "hidden_size": 4096, "image_fold": null,
              "llm_config": { "_name_or_path": "Qwen/Qwen3-8B", "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
                "debug": false, "eos_token_id": 151645, "ep_size": 1, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 12288,
                "layer_types": ["full_attention"], "max_position_embeddings": 40960, "max_window_layers": 36, "micro_forward": false, "model_type": "qwen3", "num_attention_heads": 32,
                "num_hidden_layers": 36, "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "skip_checkpoint": false, "sliding_window": null,
                "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": false, "use_deepep": false, "use_sliding_window": false, "vocab_size": 151936 },
              "max_dynamic_patch": 12, "min_dynamic_patch": 1, "model_type": "internvl_chat", "output_attentions": false, "pad2square": false, "pad_token_id": 151643, "ps_version": "v2",
              "select_layer": -1, "template": "internvl2_5", "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": null, "use_backbone_lora": 0, "use_llm_lora": 0,
              "use_thumbnail": true,
              "vision_config": { "architectures": ["InternVisionModel"], "attention_dropout": 0.0, "drop_path_rate": 0.0, "dropout": 0.0, "hidden_act": "gelu", "hidden_size": 1024,
                "image_size": 448, "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 4096, "layer_norm_eps": 1e-06, "model_type": "intern_vit_6b",
                "norm_type": "layer_norm", "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 24, "patch_size": 14, "qk_normalization": false, "qkv_bias": true,
                "use_fa3": false, "use_flash_attn": true } }
            """);
        ModelConfiguration expected = ModelFamily.Configuration("internvl3.5-8b");
        Assert.Equal((expected.Vision, expected.Language, expected.Preprocessing, expected.Template),
            (read.Vision, read.Language, read.Preprocessing, read.Template));
    }

    /// <summary>The sizes that the cards of InternVL3.5 state, in billions.</summary>
    [Theory]
    [InlineData("internvl3.5-1b", 1.1)]
    [InlineData("internvl3.5-2b", 2.3)]
    [InlineData("internvl3.5-4b", 4.7)]
    [InlineData("internvl3.5-8b", 8.5)]
    [InlineData("internvl3.5-14b", 15.1)]
    [InlineData("internvl3.5-38b", 38.4)]
    public void Published_sizes_are_those_of_the_shapes(string name, double billions)
    {
        using var model = new VisionLanguageModel(ModelFamily.Configuration(name),
            new Skylight.Cpu.CpuDevice(long.MaxValue));
        Assert.Equal(billions, model.Parameters.ElementCount / 1e9, 0.06);
    }

    [Theory]
    [InlineData("qwen2_vl", "Qwen2VLForConditionalGeneration")]
    [InlineData("qwen2", "Qwen2ForCausalLM")]
    [InlineData("llava", "LlavaForConditionalGeneration")]
    public void OtherFamiliesAreNamedWithWhatIsSupported(string modelType, string architecture) =>
        AssertRefused($$"""{ "model_type": "{{modelType}}", "architectures": ["{{architecture}}"] }""", modelType,
            architecture, "internvl_chat", "InternVL3 (1B");

    [Fact]
    public void HowMorePositionsAreConfiguredIsSaidWithTheirNumber()
    {
        LanguageConfiguration dynamic = Load(Original).Language;
        Assert.Equal(new RopeScaling(RopeScalingKind.Dynamic, 2, 32768), dynamic.RopeScaling);
        Assert.Contains(
            "32768 positions (dynamic RoPE scaling by 2 beyond 32768, which is not configured to go there; for more, " +
            "raise 'max_position_embeddings'", dynamic.DescribePositions(), StringComparison.Ordinal);
        LanguageConfiguration longer = Load(
            Edit(Original, ("llm_config.max_position_embeddings", "65536"),
                ("llm_config.rope_scaling",
                    """{ "type": "dynamic", "factor": 2, "original_max_position_embeddings": 32768 }"""))).Language;
        Assert.Equal("65536 positions (dynamic RoPE scaling by 2 beyond 32768)", longer.DescribePositions());
        LanguageConfiguration plain = Load(Edit(Original, ("llm_config.rope_scaling", "null"))).Language;
        Assert.Null(plain.RopeScaling);
        Assert.Equal("32768 positions", plain.DescribePositions());
        AssertRefused(
            Edit(HuggingFace,
                ("text_config.rope_parameters",
                    """{ "rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5 }""")),
                        "partial_rotary_factor", "0.5");
    }

    [Fact]
    public void GenerationDefaultsAreReadAndImpossibleOnesRefused()
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(GenerationDefaults.None, GenerationDefaults.Load(folder.Path));
        folder.Write("generation_config.json",
            """{ "eos_token_id": [7, 8], "bos_token_id": 1, "do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05, "max_new_tokens": 64000, "transformers_version": "4.37.2" }""");
        var expected = new GenerationDefaults
        {
            StopTokenIds = [7, 8],
            BeginTokenId = 1,
            Sample = true,
            Temperature = 0.6,
            TopP = 0.95,
            TopK = 20,
            RepetitionPenalty = 1.05,
            MaxOutputTokens = 64000,
        };
        Assert.Equal(expected, GenerationDefaults.Load(folder.Path));
        folder.Write("generation_config.json", expected.ToJson());
        Assert.Equal(expected, GenerationDefaults.Load(folder.Path));
        foreach ((string field, string value) in (ReadOnlySpan<(string, string)>)[("temperature", "-1"), ("top_p", "0"),
            ("top_p", "1.5"), ("top_k", "-3"), ("repetition_penalty", "0"), ("max_new_tokens", "0"),
            ("eos_token_id", "\"x\""), ("do_sample", "\"yes\"")])
        {
            folder.Write("generation_config.json", $"{{ \"{field}\": {value} }}");
            CheckpointException error = Assert.Throws<CheckpointException>(() => GenerationDefaults.Load(folder.Path));
            Assert.Equal(folder["generation_config.json"], error.File);
            Assert.Contains(field, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void OriginalFormIsReadBackEqual()
    {
        foreach (string name in ModelFamily.Names)
        {
            // What is proposed for generating stands in a file of its own.
            ModelConfiguration configuration = ModelFamily.Configuration(name) with { Generation = GenerationDefaults.None };
            Assert.Equal(configuration, Load(configuration.ToOriginalJson()));
            Assert.Equal(configuration, Load(configuration.ToJson()));
        }
    }

    [Fact]
    public void BothFormsOfOneModelAreOneConfiguration()
    {
        ModelConfiguration original = Load(Original), huggingFace = Load(HuggingFace);
        Assert.Equal(original.Vision, huggingFace.Vision);
        Assert.Equal(original.Language, huggingFace.Language);
        Assert.Equal("InternVLChatModel", original.Architecture);
        Assert.Equal("InternVLForConditionalGeneration", huggingFace.Architecture);
    }

    [Theory]
    [InlineData(false, NormKind.LayerNorm)]
    [InlineData(true, NormKind.RmsNorm)]
    public void WrittenConfigurationIsReadBackEqual(bool tied, NormKind norm)
    {
        ModelConfiguration configuration = CheckpointFixture.Small(tied, norm);
        Assert.Equal(configuration, Load(configuration.ToJson()));
        ModelConfiguration other = configuration with
        {
            ImageTokenId = null,
            StopTokenIds = [],
            Architecture = "SkyworkR1VChatModel",
            Vision = configuration.Vision with { LayerScaleInitial = 0.5f },
            Language = configuration.Language with { HeadDimension = 8, RmsNormEpsilon = 3.3e-5f },
        };
        Assert.Equal(other, Load(other.ToJson()));
        Assert.NotEqual(configuration, other);
    }

    [Fact]
    public void SkyworkModelIsRead() =>
        Assert.Equal("SkyworkR1VChatModel",
            Load(Edit(Original, ("architectures", """["SkyworkR1VChatModel"]"""), ("model_type", "\"skywork_chat\"")))
                .Architecture);

    [Fact]
    public void FieldsLeftOutTakeTheClassesDefaults()
    {
        ModelConfiguration original = Load(
            """{ "model_type": "internvl_chat", "ps_version": "v2", "vision_config": { "image_size": 448 }, "llm_config": { "hidden_size": 5120, "num_attention_heads": 40, "num_key_value_heads": 8 } }""");
        Assert.Equal(
            new VisionConfiguration
            {
                HiddenSize = 3200,
                LayerCount = 48,
                HeadCount = 25,
                IntermediateSize = 12800,
                NormKind = NormKind.RmsNorm,
                QueryKeyNorm = true,
                QkvBias = false,
            }, original.Vision);
        Assert.Equal(new LanguageConfiguration { HiddenSize = 5120, HeadCount = 40, KeyValueHeadCount = 8 },
            original.Language);

        ModelConfiguration huggingFace = Load("""{ "model_type": "internvl", "vision_config": {}, "text_config": {} }""");
        Assert.Equal(new VisionConfiguration { QkvBias = false }, huggingFace.Vision);
        Assert.Equal(new LanguageConfiguration(), huggingFace.Language);
        Assert.Equal(151667, huggingFace.ImageTokenId);
    }

    [Theory]
    [InlineData("text_config.rope_parameters", "null", "text_config.rope_theta", "5000", 5000)]
    [InlineData("text_config.rope_parameters", "{\"rope_type\": \"dynamic\", \"factor\": 2.0, \"rope_theta\": 7000.0}",
        "text_config.rope_scaling", "null", 7000)]
    [InlineData("text_config.rope_parameters", "null", "text_config.rope_scaling",
        "{\"type\": \"dynamic\", \"factor\": 2.0}", 10000)]
    public void RopeIsReadInOldAndNewSpelling(string field, string value, string field2, string value2, double expected) =>
        Assert.Equal(expected, Load(Edit(HuggingFace, (field, value), (field2, value2))).Language.RopeTheta);

    [Fact]
    public void TheLanguageModelDecidesAboutTying()
    {
        Assert.True(Load(Edit(Original, ("llm_config.tie_word_embeddings", "true"))).Language.TieWordEmbeddings);
        Assert.True(Load(Edit(HuggingFace, ("tie_word_embeddings", "true"))).Language.TieWordEmbeddings);
        Assert.False(
            Load(Edit(HuggingFace, ("tie_word_embeddings", "true"), ("text_config.tie_word_embeddings", "false")))
                .Language.TieWordEmbeddings);
    }

    [Fact]
    public void RectangularImagesAndPatchesAreRead()
    {
        VisionConfiguration vision = Load(Edit(HuggingFace, ("vision_config.image_size", "[28, 84]"),
            ("vision_config.patch_size", "[7, 14]"), ("image_seq_length", "6"))).Vision;
        Assert.Equal((28, 84, 7, 14, 4, 6),
            (vision.ImageHeight, vision.ImageWidth, vision.PatchHeight, vision.PatchWidth, vision.GridHeight,
                vision.GridWidth));
    }

    [Fact]
    public void StopTokensComeFromTheGenerationConfigurationFirst()
    {
        using var folder = new TemporaryFolder();
        folder.Write("config.json", Edit(HuggingFace, ("eos_token_id", "7"), ("text_config.eos_token_id", "8")));
        Assert.Equal([7], ModelConfiguration.Load(folder.Path).StopTokenIds);
        folder.Write("generation_config.json", """{ "eos_token_id": [9, 10] }""");
        Assert.Equal([9, 10], ModelConfiguration.Load(folder.Path).StopTokenIds);
        folder.Write("config.json", Edit(HuggingFace, ("text_config.eos_token_id", "8")));
        folder.Write("generation_config.json", "{}");
        Assert.Equal([8], ModelConfiguration.Load(folder.Path).StopTokenIds);
    }

    [Theory]
    [InlineData("model_type", "\"llava\"", "'model_type'", "llava", "internvl_chat")]
    [InlineData("model_type", "null", "'model_type'", "missing", "internvl_chat")]
    [InlineData("architectures", "[\"LlavaModel\"]", "'architectures'", "LlavaModel", "InternVLChatModel")]
    [InlineData("ps_version", "\"v1\"", "'ps_version'", "v1", "v2")]
    [InlineData("ps_version", "null", "'ps_version'", "v1", "v2")]
    [InlineData("select_layer", "-4", "'select_layer'", "-4", "-1")]
    [InlineData("downsample_ratio", "0.25", "'downsample_ratio'", "0.25", "0.5")]
    [InlineData("downsample_ratio", "\"half\"", "'downsample_ratio'", "half", "positive")]
    [InlineData("force_image_size", "448", "'force_image_size'", "448", "[56, 56]")]
    [InlineData("quantization_config", "{\"bits\": 4}", "'quantization_config.quant_method'", "missing", "awq (4 bits")]
    [InlineData("llm_config", "null", "'llm_config'", "missing", "")]
    [InlineData("vision_config", "[]", "'vision_config'", "[]", "an object")]
    [InlineData("llm_config.model_type", "\"internlm3\"", "'llm_config.model_type'", "internlm3", "qwen2")]
    [InlineData("llm_config.architectures", "[\"InternLM3ForCausalLM\"]", "'llm_config.architectures'",
        "InternLM3ForCausalLM", "Qwen2ForCausalLM")]
    [InlineData("llm_config.hidden_act", "\"relu\"", "'llm_config.hidden_act'", "relu", "silu")]
    [InlineData("llm_config.use_sliding_window", "true", "'llm_config.use_sliding_window'", "true", "false")]
    [InlineData("llm_config.layer_types", "[\"full_attention\", \"sliding_attention\"]", "'llm_config.layer_types'",
        "sliding_attention", "full_attention")]
    [InlineData("llm_config.rope_scaling", "{\"type\": \"llama3\", \"factor\": 4}", "'llm_config.rope_scaling.type'",
        "llama3", "yarn")]
    [InlineData("llm_config.rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 4}",
        "'llm_config.rope_scaling.rope_type'", "linear", "dynamic")]
    [InlineData("llm_config.rope_theta", "-1", "'llm_config.rope_theta'", "-1", "positive")]
    [InlineData("llm_config.num_key_value_heads", "3", "'llm_config.num_key_value_heads'", "3", "divides")]
    [InlineData("llm_config.num_attention_heads", "7", "'llm_config.num_attention_heads'", "7", "divides")]
    [InlineData("llm_config.hidden_size", "60", "'llm_config.head_dim'", "15", "even")]
    [InlineData("llm_config.hidden_size", "64.5", "'llm_config.hidden_size'", "64.5", "whole number")]
    [InlineData("llm_config.hidden_size", "99999999999", "'llm_config.hidden_size'", "99999999999", "whole number")]
    [InlineData("llm_config.vocab_size", "0", "'llm_config.vocab_size'", "0", "whole number from 1")]
    [InlineData("llm_config.num_hidden_layers", "1000000", "'llm_config.num_hidden_layers'", "1000000", "at most")]
    [InlineData("llm_config.rms_norm_eps", "1e-300", "'llm_config.rms_norm_eps'", "0", "float32")]
    [InlineData("llm_config.tie_word_embeddings", "\"no\"", "'llm_config.tie_word_embeddings'", "no", "true or false")]
    [InlineData("vision_config.model_type", "\"siglip\"", "'vision_config.model_type'", "siglip", "intern_vit_6b")]
    [InlineData("vision_config.hidden_act", "\"gelu_pytorch_tanh\"", "'vision_config.hidden_act'", "gelu_pytorch_tanh",
        "gelu")]
    [InlineData("vision_config.norm_type", "\"batch_norm\"", "'vision_config.norm_type'", "batch_norm", "rms_norm")]
    [InlineData("vision_config.num_attention_heads", "5", "'vision_config.num_attention_heads'", "5", "divides")]
    [InlineData("vision_config.patch_size", "15", "'vision_config.patch_size'", "15", "divides")]
    [InlineData("vision_config.patch_size", "[14, 14, 14]", "'vision_config.patch_size'", "3 numbers", "height and width")]
    [InlineData("vision_config.patch_size", "[]", "'vision_config.patch_size'", "0 numbers", "height and width")]
    [InlineData("vision_config.patch_size", "8", "'vision_config.image_size'", "7×7", "divides")]
    [InlineData("vision_config.num_hidden_layers", "-2", "'vision_config.num_hidden_layers'", "-2", "whole number from 1")]
    public void UnsupportedOriginalConfigurationIsRefused(string field, string value, string named, string found,
        string supported) =>
        AssertRefused(Edit(Original, (field, value)), named, found, supported);

    [Theory]
    [InlineData("projector_hidden_act", "\"relu\"", "'projector_hidden_act'", "relu", "gelu")]
    [InlineData("vision_feature_layer", "-2", "'vision_feature_layer'", "-2", "-1")]
    [InlineData("vision_feature_select_strategy", "\"full\"", "'vision_feature_select_strategy'", "full", "default")]
    [InlineData("image_seq_length", "5", "'image_seq_length'", "5", "4")]
    [InlineData("image_token_id", "512", "'image_token_id'", "512", "vocab_size")]
    [InlineData("vision_config.use_mean_pooling", "false", "'vision_config.use_mean_pooling'", "false", "true")]
    [InlineData("vision_config.use_mask_token", "true", "'vision_config.use_mask_token'", "true", "false")]
    [InlineData("vision_config.use_absolute_position_embeddings", "false",
        "'vision_config.use_absolute_position_embeddings'", "false", "true")]
    [InlineData("text_config.model_type", "\"llama\"", "'text_config.model_type'", "llama", "qwen2")]
    [InlineData("text_config.rope_parameters", "{\"rope_type\": \"linear\"}", "'text_config.rope_parameters.rope_type'",
        "linear", "default")]
    public void UnsupportedHuggingFaceConfigurationIsRefused(string field, string value, string named, string found,
        string supported) =>
        AssertRefused(Edit(HuggingFace, (field, value)), named, found, supported);

    [Theory]
    [InlineData("")]
    [InlineData("[1, 2]")]
    [InlineData("{ \"model_type\": \"internvl\", ")]
    [InlineData("{ \"model_type\": \"internvl\", \"model_type\": \"internvl\" }")]
    public void BrokenJsonIsRefused(string json) => Assert.Throws<CheckpointException>(() => Load(json));

    [Fact]
    public void MissingFileIsNamed()
    {
        using var folder = new TemporaryFolder();
        CheckpointException error = Assert.Throws<CheckpointException>(() => ModelConfiguration.Load(folder.Path));
        Assert.Equal(folder["config.json"], error.File);
    }

    [Fact]
    public void ConfigurationOfAProgramIsCheckedToo()
    {
        ModelConfiguration small = CheckpointFixture.Small();
        Assert.Same(small, small.Validate());
        Assert.Throws<CheckpointException>(() => (small with { Vision = small.Vision with { HeadCount = 0 } }).Validate());
        Assert.Throws<CheckpointException>(
            () => (small with { Vision = small.Vision with { PatchHeight = 28 } }).Validate());
        Assert.Throws<CheckpointException>(
            () => (small with { Language = small.Language with { HeadDimension = 5 } }).Validate());
        Assert.Throws<CheckpointException>(() => (small with { ImageTokenId = 50 }).Validate());
        Assert.Throws<CheckpointException>(() => (small with { ShuffleFactor = 4 }).Validate());
    }

    [Fact]
    public void MutatedConfigurationsGiveNothingButCheckpointExceptions()
    {
        using var folder = new TemporaryFolder();
        var random = new Random(20250719);
        string[] values = ["null", "-1", "0", "1", "2147483647", "1e308", "1e-400", "\"x\"", "[]", "{}", "true",
            "[1, 2]", "[[1]]", "\"\\ud800\""];
        int refused = 0, read = 0;
        for (int round = 0; round < 3000; round++)
        {
            JsonNode root = JsonNode.Parse(random.Next(2) == 0 ? Original : HuggingFace)!;
            for (int edit = random.Next(1, 4); edit > 0; edit--)
            {
                JsonObject target = root.AsObject();
                string[] inner = [.. target.Where(field => field.Value is JsonObject).Select(field => field.Key)];
                if (inner.Length > 0 && random.Next(4) > 0)
                    target = target[inner[random.Next(inner.Length)]]!.AsObject();
                if (target.Count > 0)
                    target[target.ElementAt(random.Next(target.Count)).Key] = "@@" + random.Next(values.Length);
            }

            string text = root.ToJsonString();
            for (int value = values.Length - 1; value >= 0; value--)
                text = text.Replace($"\"@@{value}\"", values[value], StringComparison.Ordinal);
            folder.Write("config.json", text);
            try
            {
                KeyMap.For(ModelConfiguration.Load(folder.Path), CheckpointNaming.HuggingFace);
                read++;
            }
            catch (CheckpointException)
            {
                refused++;
            }
        }

        Assert.True(refused > 1000 && read > 100,
            $"{refused} refused, {read} read: the mutations do not test what they should.");
    }

    private static void AssertRefused(string json, params string[] parts)
    {
        CheckpointException error = Assert.Throws<CheckpointException>(() => Load(json));
        Assert.EndsWith("config.json", error.File);
        foreach (string part in parts)
            Assert.Contains(part, error.Message);
    }

    private static ModelConfiguration Load(string json)
    {
        using var folder = new TemporaryFolder();
        folder.Write("config.json", json);
        return ModelConfiguration.Load(folder.Path);
    }

    private static string Edit(string json, params (string Field, string Value)[] edits)
    {
        JsonNode root = JsonNode.Parse(json)!;
        foreach ((string field, string value) in edits)
        {
            string[] path = field.Split('.');
            JsonNode target = path[..^1].Aggregate(root, (node, name) => node[name]!);
            target[path[^1]] = JsonNode.Parse(value);
        }

        return root.ToJsonString();
    }
}
