using System.Text.Json.Nodes;

namespace Skylight.Tests.Checkpoints.Quantized;

/// <summary>
/// The golden GPTQ checkpoint with act-order, written by nothing of the product: its groups of 128 inputs are cut into four
/// that have the same scales, the inputs of a group of 128 are dealt out to its four, and all groups are renamed. So every
/// weight has the values that it had, and the golden logits are those of it.
/// </summary>
internal sealed class ActOrderFolder : IDisposable
{
    private const int OldSize = 128, Size = 32, Cuts = OldSize / Size;

    private readonly TemporaryFolder _folder = new();

    /// <param name="seedOf">Weights of the same width and seed, by the names of their modules, have the same order.</param>
    /// <param name="change">Changes tensors before they are written.</param>
    public ActOrderFolder(Func<string, int> seedOf, Action<RawTensors>? change = null)
    {
        string source = Golden.PathOf("quant/gptq");
        RawTensors tensors = RawTensors.Load(System.IO.Path.Combine(source, "model.safetensors"));
        foreach (string module in tensors.Keys.Where(name => name.EndsWith(".g_idx", StringComparison.Ordinal))
            .Select(name => name[..^".g_idx".Length]).ToArray())
            Reorder(tensors, module, new Random(seedOf(module)));
        change?.Invoke(tensors);
        tensors.Save(_folder["model.safetensors"]);
        JsonNode config = JsonNode.Parse(File.ReadAllText(System.IO.Path.Combine(source, "config.json")))!;
        config["quantization_config"]!["group_size"] = Size;
        config["quantization_config"]!["desc_act"] = true;
        _folder.Write("config.json", config.ToJsonString());
    }

    /// <summary>Where it lies.</summary>
    public string Path => _folder.Path;

    /// <summary>Weights that read the same activations have the same order, as GPTQ gives them.</summary>
    public static int ByInput(string module) => module[..module.LastIndexOf('.')].Length
        + (module.EndsWith("o_proj", StringComparison.Ordinal) || module.EndsWith("down_proj", StringComparison.Ordinal) ? 1 : 0);

    public void Dispose() => _folder.Dispose();

    private static void Reorder(RawTensors tensors, string module, Random random)
    {
        int inputs = tensors[module + ".g_idx"].Shape[0];
        int[] names = Shuffled(inputs / Size), groupOf = new int[inputs];
        for (int old = 0; old < inputs / OldSize; old++)
        {
            int[] dealt = Shuffled(OldSize);
            for (int place = 0; place < OldSize; place++)
                groupOf[old * OldSize + dealt[place]] = names[old * Cuts + place / Size];
        }

        tensors[module + ".g_idx"] = new RawTensor("I32", [inputs],
            [.. groupOf.SelectMany(group => BitConverter.GetBytes(group))]);
        foreach (string part in (string[])[module + ".scales", module + ".qzeros"])
        {
            RawTensor old = tensors[part];
            int rowBytes = old.Bytes.Length / old.Shape[0];
            byte[] bytes = new byte[names.Length * rowBytes];
            for (int group = 0; group < names.Length; group++)
                Array.Copy(old.Bytes, group / Cuts * rowBytes, bytes, names[group] * rowBytes, rowBytes);
            tensors[part] = new RawTensor(old.Type, [names.Length, old.Shape[1]], bytes);
        }

        int[] Shuffled(int count)
        {
            int[] numbers = [.. Enumerable.Range(0, count)];
            random.Shuffle(numbers);
            return numbers;
        }
    }
}
