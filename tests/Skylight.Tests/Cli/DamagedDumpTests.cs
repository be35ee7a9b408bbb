using System.Text;
using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cli;

/// <summary><c>skylight verify</c> with dumps that are not what they say.</summary>
[Collection(nameof(ConsoleOutput))]
public sealed class DamagedDumpTests : IDisposable
{
    private static readonly string _dump = Golden.PathOf("vit300m-style/golden.safetensors");

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Kinds => [.. DamagedJson.Kinds];

    /// <summary>The tensors that are read, one of each sort.</summary>
    public static TheoryData<string, string> Tensors => new(
        from name in (string[])
        [
            "s0.input_ids", "s0.completion_start", "s0.pixel_values", "s0.logits", "s0.token_logprob",
            "s0.token_entropy", "s0.vit.embeddings", "sft.loss", "grpo.rewards", "grpo.advantages",
            "grpo.s0.old_logprob", "grpo.s0.ref_logprob", "grpo.sequence_mean.loss",
            "grpo.sequence_mean.clipped_tokens", "adamw.step0.grad_norm",
        ]
        from fault in (string[])["no elements", "one element", "rank 5", "another type", "not there"]
        select (name, fault));

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_damaged_sidecar_is_named(string kind)
    {
        string dump = _folder["golden.safetensors"];
        File.CreateSymbolicLink(dump, _dump);
        _folder.Write("golden.json", DamagedJson.Damage(kind, """{"image_token_id": 7}"""));
        await ConsoleRun.FailsAsync(["verify", Golden.PathOf("vit300m-style/original"), dump], "golden.json");
    }

    [Theory]
    [InlineData("{\"image_token_id\": 1e400}")]
    [InlineData("{\"image_token_id\": \"7\"}")]
    [InlineData("{\"image_token_id\": [7]}")]
    [InlineData("{\"image_token_id\": 3000000000}")]
    [InlineData("{\"image_token_id\": -1}")]
    public async Task A_sidecar_without_a_token_is_named(string json)
    {
        string dump = _folder["golden.safetensors"];
        File.CreateSymbolicLink(dump, _dump);
        _folder.Write("golden.json", json);
        await ConsoleRun.FailsAsync(["verify", Golden.PathOf("vit300m-style/original"), dump], "golden.json",
            "image_token_id");
    }

    [Fact]
    public async Task The_sidecar_that_went_wrong_for_somebody_is_named()
    {
        string dump = _folder["golden.safetensors"];
        File.CreateSymbolicLink(dump, _dump);
        File.Copy(Golden.PathOf("faults/verify-sidecar-damaged.json"), _folder["golden.json"]);
        await ConsoleRun.FailsAsync(["verify", Golden.PathOf("vit300m-style/original"), dump], "golden.json");
    }

    [Theory]
    [MemberData(nameof(Tensors))]
    public async Task A_tensor_that_is_not_what_it_should_be_is_named_or_counted_as_failing(string name, string fault)
    {
        using SafetensorsFile whole = SafetensorsFile.Open(_dump);
        if (!whole.Contains(name))
            Assert.Fail(
                $"The dump has no {name}. It has: " +
                $"{string.Join(", ", whole.Entries.Select(entry => entry.Name).Where(other => !other.Contains(".grad.", StringComparison.Ordinal)))}");
        string dump = _folder["golden.safetensors"];
        Write(whole, dump, name, fault);
        (int code, string output, string error) = await ConsoleRun.RunAsync("verify", Golden.PathOf("vit300m-style/hf"),
            dump);
        PlainWords.Check(output);
        PlainWords.Check(error);
        // A tensor of another shape with as many elements is compared element by element; what is not there is not
        // compared, unless it is needed.
        bool mayHold = (fault is "rank 5" && name is not "s0.pixel_values")
            || (fault is "one element" && whole[name].ElementCount == 1)
            // A small number is the same in one byte.
            || (fault is "another type" && name is "s0.completion_start")
            || (fault is "not there" && name is "s0.vit.embeddings" or "s0.logits" or "sft.loss"
                or "adamw.step0.grad_norm" or "grpo.sequence_mean.loss");
        if (!mayHold)
            Assert.True(code == 1, $"{code}\n{output}\n{error}");
        Assert.InRange(code, 0, 1);
        if (error.Length > 0)
            Assert.True(error.StartsWith("skylight: ", StringComparison.Ordinal)
                && error.Trim().Split('\n').Length < 12, error);
    }

    public void Dispose() => _folder.Dispose();

    private static void Write(SafetensorsFile whole, string target, string name, string fault)
    {
        var header = new JsonObject();
        using var data = new MemoryStream();
        foreach (SafetensorsEntry entry in whole.Entries)
        {
            byte[] bytes = whole.Bytes(entry.Name).ToArray();
            int size = entry.Type.Size();
            int[] shape = [.. Enumerable.Range(0, entry.Shape.Rank).Select(axis => entry.Shape[axis])];
            string type = entry.Type.HeaderName();
            if (entry.Name == name)
            {
                if (fault == "not there")
                    continue;
                (shape, bytes) = fault switch
                {
                    "no elements" => ([0], []),
                    "one element" => ([1], bytes[..size]),
                    "rank 5" => ([1, 1, 1, 1, (int)entry.ElementCount], bytes),
                    _ => (shape, bytes),
                };
                if (fault == "another type")
                    (type, bytes) = ("U8", bytes[..(int)entry.ElementCount]);
            }

            header[entry.Name] = new JsonObject
            {
                ["dtype"] = type,
                ["shape"] = new JsonArray([.. shape.Select(extent => (JsonNode)extent)]),
                ["data_offsets"] = new JsonArray(data.Length, data.Length + bytes.Length),
            };
            data.Write(bytes);
        }

        byte[] json = Encoding.UTF8.GetBytes(header.ToJsonString());
        File.WriteAllBytes(target, [.. BitConverter.GetBytes((long)json.Length), .. json, .. data.ToArray()]);
    }
}
