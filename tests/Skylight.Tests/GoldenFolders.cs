using System.Text.Json;

namespace Skylight.Tests;

/// <summary>
/// Golden checkpoints of which only <c>config.json</c> is stored, because others hold the same weights: put together here,
/// byte by byte, by nothing of the product.
/// </summary>
internal static class GoldenFolders
{
    // AutoAWQ's: the output that each nibble of a word holds, from the lowest.
    private static readonly int[] AwqOrder = [0, 2, 4, 6, 1, 3, 5, 7];

    private static readonly (string Tower, string Original)[] Names =
    [
        ("vision_tower.embeddings.cls_token", "vision_model.embeddings.class_embedding"),
        ("vision_tower.embeddings.position_embeddings", "vision_model.embeddings.position_embedding"),
        ("vision_tower.embeddings.patch_embeddings.projection", "vision_model.embeddings.patch_embedding"),
        ("vision_tower.encoder.layer.", "vision_model.encoder.layers."), (".layernorm_before.", ".norm1."),
        (".layernorm_after.", ".norm2."), (".attention.projection_layer.", ".attn.proj."), (".attention.", ".attn."),
        (".lambda_1", ".ls1"), (".lambda_2", ".ls2"), ("multi_modal_projector.layer_norm.", "mlp1.0."),
        ("multi_modal_projector.linear_1.", "mlp1.1."), ("multi_modal_projector.linear_2.", "mlp1.3."),
    ];

    /// <summary>
    /// How a folder is put together, of what is stored of it and where it shall lie; null where it is stored whole.
    /// </summary>
    public static Action<string, string>? Recipe(string name) => name switch
    {
        "vit6b-style/original" or "qwen3-style/original" => (stored, target) => WriteOriginalNaming(
            Golden.PathOf(name.Replace("/original", "/hf", StringComparison.Ordinal)), stored, target),
        // Encoder, connector, embeddings and head: what goes with a file that holds the language model.
        "quant/float" => (stored, target) => Quantized(stored, target, []),
        "quant/awq" => (stored, target) => Quantized(stored, target, Load("quant/awq.safetensors")),
        "quant/fp8" => (stored, target) => Quantized(stored, target, Load("quant/fp8.safetensors")),
        "quant/gptq" => (stored, target) => Quantized(stored, target, ToGptq(Load("quant/awq.safetensors"))),
        _ => null,
    };

    private static RawTensors Load(string name) => RawTensors.Load(Golden.PathOf(name));

    /// <summary>Other names, and queries, keys and values of the encoder in one tensor.</summary>
    public static RawTensors ToOriginalNaming(RawTensors source)
    {
        RawTensors renamed = [];
        foreach ((string name, RawTensor tensor) in source)
        {
            string original = Names.Aggregate(name, (text, pair) =>
                text.Replace(pair.Tower, pair.Original, StringComparison.Ordinal));
            if (!original.Contains(".attn.q_proj.", StringComparison.Ordinal))
            {
                if (!original.Contains(".attn.k_proj.", StringComparison.Ordinal)
                    && !original.Contains(".attn.v_proj.", StringComparison.Ordinal))
                    renamed.Add(original, tensor);
                continue;
            }

            RawTensor[] parts = [.. "qkv".Select(letter =>
                source[name.Replace(".q_proj.", $".{letter}_proj.", StringComparison.Ordinal)])];
            renamed.Add(original.Replace(".q_proj.", ".qkv.", StringComparison.Ordinal), new RawTensor(tensor.Type,
                [3 * tensor.Shape[0], .. tensor.Shape[1..]], [.. parts.SelectMany(part => part.Bytes)]));
        }

        return renamed;
    }

    /// <summary>The published form: in two files with an index.</summary>
    private static void WriteOriginalNaming(string huggingFace, string stored, string target)
    {
        RawTensors renamed = ToOriginalNaming(RawTensors.Load(Path.Combine(huggingFace, "model.safetensors")));
        Directory.CreateDirectory(target);
        CopyFiles(stored, target);
        var weightMap = new Dictionary<string, string>();
        string[] names = [.. renamed.Keys];
        for (int shard = 0; shard < 2; shard++)
        {
            string file = $"model-0000{shard + 1}-of-00002.safetensors";
            var part = new RawTensors();
            foreach (string name in names.Where((_, index) => index * 2 / names.Length == shard))
            {
                part.Add(name, renamed[name]);
                weightMap.Add(name, file);
            }

            part.Save(Path.Combine(target, file));
        }

        string map = string.Join(",\n    ", weightMap.Select(pair => $"{JsonSerializer.Serialize(pair.Key)}: \"{pair.Value}\""));
        File.WriteAllText(Path.Combine(target, "model.safetensors.index.json"),
            $"{{\n  \"metadata\": {{ \"total_size\": {renamed.Values.Sum(tensor => tensor.Bytes.Length)} }},\n  \"weight_map\": {{\n    {map}\n  }}\n}}\n");
    }

    private static void Quantized(string stored, string target, RawTensors quantized)
    {
        RawTensors all = Load("quant/base.safetensors");
        foreach ((string name, RawTensor tensor) in quantized)
            all.Add(name, tensor);
        Directory.CreateDirectory(target);
        CopyFiles(stored, target);
        all.Save(Path.Combine(target, "model.safetensors"));
    }

    /// <summary>The same codes in GPTQ's packing, zeros stored less one.</summary>
    private static RawTensors ToGptq(RawTensors awq)
    {
        var gptq = new RawTensors();
        foreach ((string name, RawTensor tensor) in awq)
        {
            (int rows, int columns) = (tensor.Shape[0], tensor.Shape[1]);
            if (name.EndsWith(".scales", StringComparison.Ordinal))
            {
                gptq.Add(name, tensor);
                continue;
            }

            bool isZeros = name.EndsWith(".qzeros", StringComparison.Ordinal);
            uint[] packed = new uint[rows * columns];
            for (int row = 0; row < rows; row++)
            {
                for (int output = 0; output < columns * 8; output++)
                {
                    uint word = BitConverter.ToUInt32(tensor.Bytes, (row * columns + output / 8) * 4);
                    uint code = word >> (4 * Array.IndexOf(AwqOrder, output % 8)) & 0xF;
                    if (isZeros)
                        packed[row * columns + output / 8] |= (code - 1 & 0xF) << (4 * (output % 8));
                    else
                        packed[row / 8 * columns * 8 + output] |= code << (4 * (row % 8));
                }
            }

            byte[] bytes = new byte[packed.Length * 4];
            Buffer.BlockCopy(packed, 0, bytes, 0, bytes.Length);
            gptq.Add(name, new RawTensor("I32", isZeros ? tensor.Shape : [rows / 8, columns * 8], bytes));
            if (!isZeros)
                gptq.Add(name.Replace(".qweight", ".g_idx", StringComparison.Ordinal), new RawTensor("I32", [rows],
                    [.. Enumerable.Range(0, rows).SelectMany(input => BitConverter.GetBytes(input / 128))]));
        }

        return gptq;
    }

    private static void CopyFiles(string source, string target)
    {
        foreach (string file in Directory.EnumerateFiles(source))
            File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
    }
}
