using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints;

/// <summary>What is trained is written as what was loaded: whoever reads the one reads the other.</summary>
public sealed class CheckpointLikeTests
{
    [Theory]
    [InlineData(CheckpointNaming.Original, StoredType.Float32)]
    [InlineData(CheckpointNaming.Original, StoredType.BFloat16)]
    [InlineData(CheckpointNaming.HuggingFace, StoredType.BFloat16)]
    [InlineData(CheckpointNaming.HuggingFaceNested, StoredType.Float32)]
    public void Naming_types_configuration_and_companions_are_those_of_the_first(CheckpointNaming naming, StoredType type)
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = ModelFamily.Configuration("tiny");
        RandomCheckpoint.Write(folder["first"], configuration, type, 3,
            new CheckpointWriterOptions { Naming = naming, MaximumShardBytes = 8 << 20 });
        // As a download has it: members that only other programs read, code that they run, and files of nobody's concern.
        var config = (JsonObject)JsonNode.Parse(File.ReadAllText(folder["first/config.json"]))!;
        config["auto_map"] = new JsonObject { ["AutoModel"] = "modeling_internvl_chat.InternVLChatModel" };
        config["_commit_hash"] = "été";
        File.WriteAllText(folder["first/config.json"], config.ToJsonString());
        foreach ((string name, string text) in ((string, string)[])[
            ("modeling_internvl_chat.py", "class InternVLChatModel: pass\n"), ("tokenizer_config.json", "{}"),
            ("merges.txt", "a b\n"), ("chat_template.jinja", "{{ x }}"), ("LICENSE", "MIT"), ("README.md", "# Card"),
            ("picture.png", "x")])
            File.WriteAllText(folder[$"first/{name}"], text);

        using (VisionLanguageModel model = ModelCheckpoint.Load(folder["first"], new CpuDevice()))
            ModelCheckpoint.Save(model, folder["second"], new CheckpointWriterOptions { Like = folder["first"] },
                TestContext.Current.CancellationToken);
        Assert.Equal(Tensors(folder["first"]), Tensors(folder["second"]));
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(File.ReadAllText(folder["first/config.json"])),
            JsonNode.Parse(File.ReadAllText(folder["second/config.json"]))));
        foreach (string name in (string[])["modeling_internvl_chat.py", "tokenizer_config.json", "merges.txt",
            "chat_template.jinja", "LICENSE"])
            Assert.Equal(File.ReadAllBytes(folder[$"first/{name}"]), File.ReadAllBytes(folder[$"second/{name}"]));
        Assert.False(File.Exists(folder["second/README.md"]) || File.Exists(folder["second/picture.png"]));

        // Of another type in memory: the configuration says so, and nothing else of it has changed.
        DataType other = type == StoredType.Float32 ? DataType.BFloat16 : DataType.Float32;
        using (VisionLanguageModel model = ModelCheckpoint.Load(folder["first"], new CpuDevice(), other))
            ModelCheckpoint.Save(model, folder["third"], new CheckpointWriterOptions { Like = folder["first"] },
                TestContext.Current.CancellationToken);
        string expected = type == StoredType.Float32 ? "bfloat16" : "float32";
        config["dtype"] = expected;
        config["torch_dtype"] = expected;
        Assert.True(JsonNode.DeepEquals(config, JsonNode.Parse(File.ReadAllText(folder["third/config.json"]))));
        ModelCheckpoint.Load(folder["third"], new CpuDevice()).Dispose();
    }

    /// <summary>Names, types, shapes and bytes, whatever the shards.</summary>
    private static List<string> Tensors(string directory)
    {
        var tensors = new List<string>();
        foreach (string file in Directory.GetFiles(directory, "*.safetensors"))
        {
            using SafetensorsFile shard = SafetensorsFile.Open(file);
            foreach (SafetensorsEntry entry in shard.Entries)
                tensors.Add(
                    $"{entry.Name} {entry.Type} {entry.Shape} " +
                    $"{Convert.ToHexString(System.IO.Hashing.XxHash64.Hash(shard.Bytes(entry.Name)))}");
        }

        tensors.Sort(StringComparer.Ordinal);
        return tensors;
    }
}
