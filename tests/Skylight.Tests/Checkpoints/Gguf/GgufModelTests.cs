using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Chat;
using Skylight.Tests.Text;
using Skylight.Text;
using Skylight.Training.Runs;

namespace Skylight.Tests.Checkpoints.Gguf;

/// <summary>Whole models of GGUF files.</summary>
public class GgufModelTests
{
    [Theory]
    [InlineData(false, NormKind.LayerNorm, LanguageModelKind.Qwen2)]
    [InlineData(true, NormKind.RmsNorm, LanguageModelKind.Qwen2)]
    [InlineData(false, NormKind.LayerNorm, LanguageModelKind.Qwen3)]
    public void A_pair_is_the_checkpoint_that_it_was_made_of(bool tied, NormKind norm, LanguageModelKind kind)
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration expected = GgufFixture.Small(tied, norm, kind);
        GgufFixture.WritePair(folder, expected);
        ModelConfiguration read = ModelConfiguration.Load(folder["model.gguf"]);
        Assert.Equal(expected with
        {
            StopTokenIds = [3, 5],
            Generation = new GenerationDefaults { StopTokenIds = [3, 5] },
        }, read);
        AssertSame(folder["base"], null, folder["model.gguf"], null);
        AssertSame(folder["base"], null, folder["model.gguf"], folder["mmproj.gguf"]);
        AssertSame(folder["base"], null, folder["model.gguf"], folder["base"]);
        // The folder that holds the two.
        AssertSame(folder["base"], null, folder.Path, null);
    }

    [Fact]
    public void An_encoder_and_connector_may_come_from_a_folder_of_any_naming()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = GgufFixture.Small();
        GgufFixture.WritePair(folder, configuration);
        File.Delete(folder["mmproj.gguf"]);
        foreach (CheckpointNaming naming in (CheckpointNaming[])[CheckpointNaming.Original,
            CheckpointNaming.HuggingFaceNested])
        {
            RandomCheckpoint.Write(folder[$"{naming}"], configuration with { ImageTokenId = 49 }, StoredType.Float32, 7,
                new CheckpointWriterOptions { Naming = naming });
            Assert.Equal(49, ModelConfiguration.Load(folder["model.gguf"], folder[$"{naming}"]).ImageTokenId);
            AssertSame(folder["base"], null, folder["model.gguf"], folder[$"{naming}"]);
        }
    }

    [Fact]
    public void Settings_of_the_file_are_read()
    {
        using var folder = new TemporaryFolder();
        GgufFixture.WritePair(folder, GgufFixture.Small(), language => language
            .Text("qwen2.rope.scaling.type", "yarn").Number("qwen2.rope.scaling.factor", 4)
            .Integer("qwen2.rope.scaling.original_context_length", 100)
            .Text("tokenizer.chat_template", "{{ eos_token }}").Texts("tokenizer.ggml.tokens", Tokens(50))
            .Number("general.sampling.temp", 0.6f).Integer("general.sampling.top_k", 20).Number("general.sampling.top_p", 0.95f)
            .Integer("general.sampling.mirostat", 2),
            vision => vision.Integer("clip.vision.preproc_min_tiles", 2).Integer("clip.vision.preproc_max_tiles", 7));
        ModelConfiguration read = ModelConfiguration.Load(folder["model.gguf"]);
        Assert.Equal(new RopeScaling(RopeScalingKind.Yarn, 4, 100), read.Language.RopeScaling);
        Assert.Equal(400, read.Language.MaxPositions);
        Assert.Equal("{{ eos_token }}", read.ChatTemplate!.Source);
        Assert.Equal("t3", read.ChatTemplate.Tokens["eos_token"]);
        Assert.Equal((0.6, 20, 0.95, true),
            (read.Generation.Temperature, read.Generation.TopK, read.Generation.TopP, read.Generation.Sample));
        Assert.Equal((2, 7), (read.Preprocessing.MinimumTiles, read.Preprocessing.MaximumTiles));
        Assert.Contains("model.gguf says 'mirostat' is 2", Assert.Single(read.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void Parts_of_a_split_are_one_model_and_each_must_be_there()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = GgufFixture.Small();
        GgufFixture.WritePair(folder, configuration);
        using (CheckpointReader reader = CheckpointReader.Open(folder["base"]))
        {
            string[] names = [.. KeyMap.For(configuration, CheckpointNaming.Gguf).Entries.SelectMany(entry => entry.Pieces)
                .Select(piece => piece.TensorName).Where(name => !name.StartsWith("v.", StringComparison.Ordinal)
                    && !name.StartsWith("mm.", StringComparison.Ordinal))];
            for (int part = 0; part < 3; part++)
            {
                GgufWriter writer = (part == 0 ? GgufFixture.Language(configuration) : new GgufWriter())
                    .Add("split.no", GgufValueType.UInt16, [(byte)part, 0])
                    .Add("split.count", GgufValueType.UInt16, [3, 0])
                    .Add("split.tensors.count", GgufValueType.Int32, BitConverter.GetBytes(names.Length));
                using CheckpointReader whole = CheckpointReader.Open(folder["model.gguf"]);
                foreach (string name in names.Where((_, index) => index % 3 == part))
                {
                    CheckpointTensor tensor = whole[name];
                    float[] values = new float[tensor.Shape.ElementCount];
                    tensor.ReadFloat32(0, values);
                    writer.Floats(name, values,
                        [.. Enumerable.Range(0, tensor.Shape.Rank).Select(axis => (long)tensor.Shape[axis])]);
                }

                folder.Write($"split/m-0000{part + 1}-of-00003.gguf", writer.ToBytes());
            }
        }

        File.Copy(folder["mmproj.gguf"], folder["split/mmproj.gguf"]);
        AssertSame(folder["base"], null, folder["split/m-00001-of-00003.gguf"], null);
        AssertSame(folder["base"], null, folder["split/m-00003-of-00003.gguf"], null);
        AssertSame(folder["base"], null, folder["split"], null);

        File.Move(folder["split/m-00002-of-00003.gguf"], folder["split/x.gguf"]);
        string message = Fails(folder["split/m-00001-of-00003.gguf"]);
        Assert.Contains("is part 1 of 3, of which 1 is missing: m-00002-of-00003.gguf.", message, StringComparison.Ordinal);
        Assert.Contains("its name does not end in '-00002-of-00003.gguf'", Fails(folder["split/x.gguf"]),
            StringComparison.Ordinal);
        File.Copy(folder["split/m-00003-of-00003.gguf"], folder["split/m-00002-of-00003.gguf"]);
        Assert.Contains("says that it is part 3 of 3, but is named as part 2 of 3", Fails(folder["split/m-00001-of-00003.gguf"]),
            StringComparison.Ordinal);
        Assert.Contains("says that it is part 3 of 3, but is named as part 2 of 3", Fails(folder["split/m-00003-of-00003.gguf"]),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Which_files_are_meant_must_be_clear()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = GgufFixture.Small();
        GgufFixture.WritePair(folder, configuration);
        File.Copy(folder["model.gguf"], folder["other.gguf"]);
        Assert.Contains("holds 2 language models: model.gguf, other.gguf. Give the file of one", Fails(folder.Path),
            StringComparison.Ordinal);
        File.Copy(folder["mmproj.gguf"], folder["mmproj-2.gguf"]);
        Assert.Contains("has 2 vision encoders beside it: mmproj-2.gguf, mmproj.gguf. Give one of them (--mmproj",
            Fails(folder["model.gguf"]), StringComparison.Ordinal);
        File.Delete(folder["mmproj-2.gguf"]);
        File.Delete(folder["other.gguf"]);
        Assert.Contains("is a vision encoder (mmproj), not a language model", Fails(folder["mmproj.gguf"]),
            StringComparison.Ordinal);
        Assert.Contains("'general.architecture' is 'qwen2'; supported: 'clip'", Fails(folder["model.gguf"], folder["model.gguf"]),
            StringComparison.Ordinal);
        Assert.Contains("there is no such file or folder", Fails(folder["model.gguf"], folder["absent.gguf"]),
            StringComparison.Ordinal);
        Assert.Contains("is no .gguf file", Fails(folder["model.gguf"], folder.Write("x.bin", "x")), StringComparison.Ordinal);
        Assert.Contains("is missing", Fails(folder["absent.gguf"]), StringComparison.Ordinal);
        Assert.Contains("is not GGUF, so that it has an encoder",
            Assert.Throws<ArgumentException>(() => ModelConfiguration.Load(folder["base"], folder["mmproj.gguf"])).Message,
            StringComparison.Ordinal);
        File.Move(folder["mmproj.gguf"], folder["base/mmproj.gguf"]);
        Assert.Contains("no mmproj-*.gguf lies beside it. Give the vision encoder", Fails(folder["model.gguf"]),
            StringComparison.Ordinal);
        // Safetensors go before what lies beside them.
        Assert.Equal(configuration.Language, ModelConfiguration.Load(folder["base"]).Language);
        File.Delete(folder["model.gguf"]);
        File.Move(folder["base/mmproj.gguf"], folder["mmproj.gguf"]);
        Assert.Contains("holds no language model, only vision encoders: mmproj.gguf", Fails(folder.Path),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nothing_is_written_in_the_likeness_of_a_file_and_no_training_begins_with_one()
    {
        using var folder = new TemporaryFolder();
        GgufFixture.WritePair(folder, GgufFixture.Small());
        using VisionLanguageModel model = ModelCheckpoint.Load(folder["model.gguf"], new CpuDevice());
        Assert.Contains("in whose likeness no checkpoint is written",
            Assert.Throws<CheckpointException>(() => ModelCheckpoint.Save(model, folder["out"],
                new CheckpointWriterOptions { Like = folder["model.gguf"] })).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ModelCheckpoint.Save(model, folder["out"],
            new CheckpointWriterOptions { Naming = CheckpointNaming.Gguf }));
        Assert.Contains("is GGUF, with which no training begins", (await Assert.ThrowsAsync<CheckpointException>(() =>
            StartingModel.FolderAsync(folder["model.gguf"], ModelParts.Checkpoint, null, CancellationToken.None))).Message,
            StringComparison.Ordinal);
        ModelCheckpoint.Save(model, folder["out"]);
        AssertSame(folder["base"], null, folder["out"], null);
    }

    public static TheoryData<string, string> Damages => new()
    {
        { "architecture", "'general.architecture' is 'llama'; supported: 'qwen2', 'qwen3'" },
        { "no architecture", "'general.architecture' is missing" },
        { "type", "'general.type' is 'adapter'; supported: 'model'" },
        { "layers", "not part of the model (12)" },
        { "more layers", "missing (12)" },
        { "heads", "'qwen2.attention.head_count' is 5 and 'qwen2.attention.head_count_kv' is 2; supported: the second divides" },
        { "odd", "'qwen2.attention.key_length' (embedding_length / attention.head_count where absent) is 5; supported: even" },
        { "text", "'qwen2.block_count' is 'three'; supported: a whole number from 1 to 1024" },
        { "unknown", "'qwen2.novelty' is 1, and it is not known which numbers of the model it changes" },
        { "experts", "'qwen2.expert_count' is 4; supported: 0" },
        { "rotary", "'qwen2.rope.dimension_count' is 4; supported: 6, the width of a head" },
        { "linear", "'qwen2.rope.scaling.type' is 'linear'; supported: 'none' and 'yarn'" },
        { "factor", "'qwen2.rope.scaling.factor' is 2 without 'qwen2.rope.scaling.type'" },
        { "epsilon", "'qwen2.attention.layer_norm_rms_epsilon' is 0; supported: a positive number" },
        { "no epsilon", "'qwen2.attention.layer_norm_rms_epsilon' is missing" },
        { "vocabulary", "'qwen2.vocab_size' is 51, but 'token_embd.weight' has 50 rows" },
        { "tokenizer", "'tokenizer.ggml.tokens' has 49 tokens, but 'token_embd.weight' has 50 rows: the tokenizer is not" },
        { "projector", "'clip.projector_type' is 'qwen2vl_merger'; supported: 'internvl'" },
        { "width", "makes features of 32 numbers ('clip.vision.projection_dim'), but model.gguf takes 24: it is the vision encoder of another model" },
        { "tensors of another", "of another shape" },
        { "scale", "'clip.vision.projector.scale_factor' is 4; supported: 2" },
        { "gate", "'clip.use_silu' is true; supported: false" },
        { "patch", "'clip.vision.patch_size' is missing" },
        { "deviation", "'image_std' has 0; supported: positive numbers" },
        { "mean", "'clip.vision.image_mean' is a list of 2 of Float32; supported: a list of 3 numbers" },
        { "deepstack", "'clip.vision.is_deepstack_layers' is 1, and it is not known" },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public void What_does_not_fit_is_named(string damage, string message)
    {
        using var folder = new TemporaryFolder();
        GgufFixture.WritePair(folder, GgufFixture.Small(), language => damage switch
        {
            "architecture" => language.Without("general.architecture").Text("general.architecture", "llama"),
            "no architecture" => language.Without("general.architecture"),
            "type" => language.Text("general.type", "adapter"),
            "layers" => language.Without("qwen2.block_count").Integer("qwen2.block_count", 2),
            "more layers" => language.Without("qwen2.block_count").Integer("qwen2.block_count", 4),
            "heads" => language.Without("qwen2.attention.head_count").Integer("qwen2.attention.head_count", 5),
            "odd" => language.Without("qwen2.attention.value_length").Without("qwen2.attention.key_length")
                .Integer("qwen2.attention.key_length", 5),
            "text" => language.Without("qwen2.block_count").Text("qwen2.block_count", "three"),
            "unknown" => language.Integer("qwen2.novelty", 1),
            "experts" => language.Integer("qwen2.expert_count", 4),
            "rotary" => language.Integer("qwen2.rope.dimension_count", 4),
            "linear" => language.Text("qwen2.rope.scaling.type", "linear").Number("qwen2.rope.scaling.factor", 2),
            "factor" => language.Number("qwen2.rope.scaling.factor", 2),
            "epsilon" => language.Without("qwen2.attention.layer_norm_rms_epsilon")
                .Number("qwen2.attention.layer_norm_rms_epsilon", 0),
            "no epsilon" => language.Without("qwen2.attention.layer_norm_rms_epsilon"),
            "vocabulary" => language.Integer("qwen2.vocab_size", 51),
            "tokenizer" => language.Texts("tokenizer.ggml.tokens", Tokens(49)),
            _ => language,
        }, vision => damage switch
        {
            "projector" => vision.Without("clip.projector_type").Text("clip.projector_type", "qwen2vl_merger"),
            "width" => vision.Without("clip.vision.projection_dim").Integer("clip.vision.projection_dim", 32),
            "tensors of another" => vision.Without("clip.vision.feed_forward_length")
                .Integer("clip.vision.feed_forward_length", 24),
            "scale" => vision.Without("clip.vision.projector.scale_factor").Integer("clip.vision.projector.scale_factor", 4),
            "gate" => vision.Flag("clip.use_silu", true),
            "patch" => vision.Without("clip.vision.patch_size"),
            "deviation" => vision.Without("clip.vision.image_std").Numbers("clip.vision.image_std", 0.2, 0, 0.2),
            "mean" => vision.Without("clip.vision.image_mean").Numbers("clip.vision.image_mean", 0.2, 0),
            "deepstack" => vision.Integer("clip.vision.is_deepstack_layers", 1),
            _ => vision,
        });
        Assert.Contains(message, Fails(folder["model.gguf"]), StringComparison.Ordinal);
    }

    [Fact]
    public void The_folder_of_another_model_is_refused_as_base()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = GgufFixture.Small();
        GgufFixture.WritePair(folder, configuration);
        RandomCheckpoint.Write(folder["other"], configuration with
        {
            Language = configuration.Language with { LayerCount = 2, IntermediateSize = 48 },
        }, StoredType.Float32, 1);
        Assert.Contains("is another model than model.gguf: layers 3 and 2, intermediate size 40 and 48.",
            Fails(folder["model.gguf"], folder["other"]), StringComparison.Ordinal);
        RandomCheckpoint.Write(folder["third"], GgufFixture.Small(kind: LanguageModelKind.Qwen3), StoredType.Float32, 1);
        Assert.Contains("Qwen2 and Qwen3, width of a head 6 and 10", Fails(folder["model.gguf"], folder["third"]),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_chat_with_a_file_says_what_its_checkpoint_says()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = ModelFamily.Configuration("tiny");
        configuration = configuration with { Language = configuration.Language with { RopeScaling = null } };
        GgufFixture.WritePair(folder, configuration, language => GgufTokenizerTests.Metadata(language, 151_674),
            type: StoredType.BFloat16);
        File.WriteAllText(folder["base/config.json"], (configuration with { Architecture = "InternVLChatModel" })
            .ToOriginalJson());
        File.WriteAllBytes(folder["base/tokenizer.json"], TokenizerFixture.RealJson);

        Message[] messages = [Message.User("What is this?", ImagePart.FromRgb(TinyChatModel.Picture(3)))];
        var options = new ChatModelOptions { CacheTokens = 4096, Template = ChatTemplate.Transformers };
        string expected = await Answer(folder["base"], options), actual = await Answer(folder["model.gguf"], options);
        Assert.NotEmpty(expected);
        Assert.Equal(expected, actual);
        Assert.Equal(expected, await Answer(folder["model.gguf"], options with { Vision = folder["base"] }));

        async Task<string> Answer(string model, ChatModelOptions how)
        {
            await using ChatModel chat = await ChatModel.LoadAsync(model, how);
            Assert.Equal(DataType.BFloat16, chat.Model.ParameterType);
            Assert.Equal(model == folder["base"] ? "base" : "model", chat.Name);
            return (await chat.CompleteAsync(messages, new GenerationOptions { MaxOutputTokens = 12, Temperature = 0 }))
                .Answer;
        }
    }

    private static byte[][] Tokens(int count) =>
        [.. Enumerable.Range(0, count).Select(id => System.Text.Encoding.UTF8.GetBytes($"t{id}"))];

    private static string Fails(string model, string? vision = null) =>
        Assert.Throws<CheckpointException>(() =>
        {
            using VisionLanguageModel loaded = ModelCheckpoint.Load(model, new CpuDevice(), vision: vision);
        }).Message;

    private static void AssertSame(string model, string? vision, string other, string? otherVision)
    {
        using VisionLanguageModel left = ModelCheckpoint.Load(model, new CpuDevice(), vision: vision),
            right = ModelCheckpoint.Load(other, new CpuDevice(), vision: otherVision);
        Assert.Equal(left.ParameterType, right.ParameterType);
        Assert.Equal(left.Parameters.All.Select(parameter => parameter.Name),
            right.Parameters.All.Select(parameter => parameter.Name));
        foreach (PersistentTensor parameter in left.Parameters.All)
            Assert.Equal(PersistentTensors.Read(left.Device, parameter),
                PersistentTensors.Read(right.Device, right.Parameters[parameter.Name]));
    }
}
