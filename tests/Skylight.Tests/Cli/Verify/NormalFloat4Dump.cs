using System.Text;
using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Cli.Verify;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Tests.Cli.Verify;

/// <summary>
/// The model of the reference dumps of quantised forms with its projections in NF4, of random codes: a checkpoint as
/// bitsandbytes writes it, and a dump whose logits are those of a plain checkpoint of the same values.
/// </summary>
internal sealed class NormalFloat4Dump : IDisposable
{
    private const int Block = 64;

    private static readonly float[] s_table =
    [
        -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
        -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
    ];

    private readonly TemporaryFolder _folder = new();

    public NormalFloat4Dump()
    {
        RawTensors stored = RawTensors.Load(Path.Combine(Golden.PathOf("quant/fp8"), "model.safetensors")), packed = [],
            plain = [];
        var random = new Random(11);
        foreach ((string name, RawTensor tensor) in stored)
        {
            if (tensor.Type == "F8_E4M3")
                Quantize(name, tensor.Shape, packed, plain, random);
            else if (!name.EndsWith(".weight_scale", StringComparison.Ordinal))
                (packed[name], plain[name]) = (tensor, tensor);
        }

        string source = Path.Combine(Golden.PathOf("quant/fp8"), "config.json");
        var config = (JsonObject)JsonNode.Parse(File.ReadAllText(source))!;
        config.Remove("quantization_config");
        Write("plain", plain, config);
        config["quantization_config"] = JsonNode.Parse(
            """{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}""");
        Write("nf4", packed, config);

        RawTensors dump = RawTensors.Load(Golden.PathOf("quant/golden.safetensors"));
        AddLogits(dump);
        dump.Save(Dump);
    }

    public string Checkpoint => _folder["nf4"];

    public string Dump => _folder["golden.safetensors"];

    public void Dispose() => _folder.Dispose();

    private void Write(string name, RawTensors tensors, JsonObject config)
    {
        _folder.Write($"{name}/config.json", config.ToJsonString());
        tensors.Save(_folder[$"{name}/model.safetensors"]);
    }

    private static void Quantize(string name, int[] shape, RawTensors packed, RawTensors plain, Random random)
    {
        int count = shape[0] * shape[1];
        int[] codes = [.. Enumerable.Range(0, count).Select(_ => random.Next(16))];
        float[] scales = [.. Enumerable.Range(0, count / Block).Select(_ => 0.02f + 0.08f * random.NextSingle())];
        byte[] state = Encoding.UTF8.GetBytes(
            $$"""{"quant_type": "nf4", "blocksize": {{Block}}, "dtype": "float32", "shape": [{{shape[0]}}, {{shape[1]}}]}""");
        packed[name] = new RawTensor("U8", [count / 2, 1],
            [.. Enumerable.Range(0, count / 2).Select(i => (byte)(codes[2 * i] << 4 | codes[2 * i + 1]))]);
        packed[$"{name}.absmax"] = Floats(scales);
        packed[$"{name}.quant_map"] = Floats(s_table);
        packed[$"{name}.quant_state.bitsandbytes__nf4"] = new RawTensor("U8", [state.Length], state);
        plain[name] = Floats([.. codes.Select((code, i) => scales[i / Block] * s_table[code])]) with { Shape = shape };
    }

    private void AddLogits(RawTensors dump)
    {
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        using GoldenDump golden = GoldenDump.Open(Golden.PathOf("quant/golden.safetensors"));
        using VisionLanguageModel model = ModelCheckpoint.Load(_folder["plain"], device, DataType.Float32);
        using var workspace = new Workspace(device);
        foreach (GoldenSequence sequence in golden.SequencesOf("fp8"))
        {
            float[] logits = ModelRun.Activations(model, workspace, sequence.Sequence, output => output == "logits",
                TestContext.Current.CancellationToken)[0].Values;
            dump[$"nf4.{sequence.Name}.logits"] = Floats(logits) with { Shape = dump[$"fp8.{sequence.Name}.logits"].Shape };
        }
    }

    private static RawTensor Floats(float[] values) =>
        new("F32", [values.Length], [.. values.SelectMany(BitConverter.GetBytes)]);
}
