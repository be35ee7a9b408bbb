using System.Globalization;
using System.Text.Json;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench;

/// <summary>
/// Attention of all layers of a model over key-value caches of each type, in turn, beside the machine's read bandwidth: one
/// new token, and a part of a prompt that ends at the same context. Pages lie in random order.
/// </summary>
internal static unsafe class CacheBenchmark
{
    public const string Usage = "cache [--like internvl3-1b] [--context 4096,16384] [--rows 1,512] [--output PATH]";

    private const int Rounds = 41;
    private const long BandwidthFloats = 64L << 20;
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(4);

    private sealed record Row(DataType Type, int Context, int Rows, double Seconds, double Shortest, double Bytes,
        double Bandwidth, bool IsCalm);

    /// <summary>Measures, prints and writes the results.</summary>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        (string like, int[] contexts, int[] counts, string? output) = ("internvl3-1b", [4096, 16384], [1, 512], null);
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string value = index + 1 < arguments.Length ? arguments[index + 1] : "";
            switch (arguments[index])
            {
                case "--like" when ModelFamily.Names.Contains(value):
                    like = value;
                    break;
                case "--context" when Numbers(value) is { } numbers:
                    contexts = numbers;
                    break;
                case "--rows" when Numbers(value) is { } numbers:
                    counts = numbers;
                    break;
                case "--output" when value.Length > 0:
                    output = value;
                    break;
                default:
                    Console.Error.WriteLine($"'{arguments[index]} {value}' is not understood.\nUsage: {Usage}");
                    return 2;
            }
        }

        LanguageConfiguration model = ModelFamily.Configuration(like).Language;
        var rows = new List<Row>();
        foreach (int context in contexts)
            rows.AddRange(Measure(model, context, counts));
        BenchmarkReport.Write("cpu-cache.json", string.Join(' ', ["cache", .. arguments.ToArray()]), json =>
        {
            json.WriteString("model", like);
            json.WriteString("unit", "medians, attention of all layers; bytes are those of the cache that must be read");
            json.WriteStartArray("rows");
            foreach (Row row in rows)
                Write(json, row);
            json.WriteEndArray();
        }, output);
        return 0;
    }

    private static int[]? Numbers(string list)
    {
        int[] numbers = [.. list.Split(',').Select(part =>
            int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0)];
        return Array.TrueForAll(numbers, number => number > 0) ? numbers : null;
    }

    private static List<Row> Measure(LanguageConfiguration model, int context, int[] counts)
    {
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        DataType[] types = [DataType.BFloat16, DataType.Int8];
        List<PersistentTensor> owned = [];
        PersistentTensor[][] caches = [.. types.Select(type => Caches(device, workspace, model, context, type))];
        owned.AddRange(caches.SelectMany(cache => cache));
        using var buffer = new NativeFloats(BandwidthFloats);
        float* pointer = buffer.Pointer;
        var results = new List<Row>();
        foreach (int count in counts.Where(count => count <= context))
        {
            Executor[] arms = [.. caches.Select(cache => Attention(device, workspace, model, context, count, cache))];
            Measurement measured = Measurement.InTurn(Rounds, s_longest,
                [new Arm(() => MachinePeak.Read(pointer, BandwidthFloats)), .. arms.Select(arm => new Arm(() => arm.Run()))]);
            for (int arm = 0; arm < types.Length; arm++)
            {
                var row = new Row(types[arm], context, count, measured.Seconds(1 + arm), measured.Shortest(1 + arm),
                    caches[arm].Sum(tensor => device.StorageBytes(tensor.Type)),
                    BandwidthFloats * sizeof(float) / measured.Seconds(0), measured.IsCalm);
                results.Add(row);
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{row.Type,-9} {row.Rows,4} tokens that end at {row.Context,6}: {row.Seconds * 1e3,8:F2} ms (at best {row.Shortest * 1e3:F2}), cache {row.Bytes / 1e6:F0} MB, {row.Bytes / row.Seconds / 1e9:F1} GB/s of {row.Bandwidth / 1e9:F1}{(row.IsCalm ? "" : "  (machine busy)")}"));
            }
        }

        foreach (PersistentTensor tensor in owned)
            tensor.Tensor.Memory.Dispose();
        return results;
    }

    /// <summary>Keys and values of all layers, written as a model writes them.</summary>
    private static PersistentTensor[] Caches(CpuDevice device, Workspace workspace, LanguageConfiguration model, int context,
        DataType type)
    {
        int pages = context / KeyValuePages.Size, width = model.KeyValueSize;
        var form = new TensorType(type, new Shape(pages, model.KeyValueHeadCount,
            KeyValuePages.ElementCount(type, model.HeadDimension)));
        PersistentTensor[] caches = [.. Enumerable.Range(0, 2 * model.LayerCount)
            .Select(index => new PersistentTensor($"cache{index}", form))];
        float[] numbers = (float[])Operand.Normal(context, width).Fill(1);
        for (int layer = 0; layer < model.LayerCount; layer++)
        {
            PersistentTensor keys = caches[2 * layer], values = caches[2 * layer + 1];
            device.Bind(keys);
            device.Bind(values);
            var graph = new Graph();
            Value rows = graph.Input("rows", TensorType.Float32(context, width)),
                slots = graph.Input("slots", TensorType.Int32(context));
            graph.AddNode(new KeyValueWrite(model.KeyValueHeadCount, model.HeadDimension), rows, rows, graph.Persistent(keys),
                graph.Persistent(values), slots);
            var executor = new Executor(Planner.Plan(graph, device), workspace);
            executor.Write<float>(rows, numbers);
            executor.Write<int>(slots, [.. Enumerable.Range(0, context)]);
            executor.Run();
        }

        return caches;
    }

    private static Executor Attention(CpuDevice device, Workspace workspace, LanguageConfiguration model, int context, int rows,
        PersistentTensor[] caches)
    {
        int[] pages = [.. Enumerable.Range(0, context / KeyValuePages.Size)];
        new Random(2).Shuffle(pages);
        var graph = new Graph();
        Value query = graph.Persistent(Filled(device, TensorType.Float32(rows, model.HeadCount * model.HeadDimension),
            Operand.Normal(rows, model.HeadCount * model.HeadDimension).Fill(3)));
        Value table = graph.Persistent(Filled(device, TensorType.Int32(1, pages.Length), pages)),
            starts = graph.Persistent(Filled(device, TensorType.Int32(2), new[] { 0, rows })),
            lengths = graph.Persistent(Filled(device, TensorType.Int32(1), new[] { pages.Length * KeyValuePages.Size }));
        var attend = new PagedAttention(model.HeadCount, model.KeyValueHeadCount, model.HeadDimension);
        for (int layer = 0; layer < model.LayerCount; layer++)
            graph.Output($"layer{layer}", graph.Add(attend, query, graph.Persistent(caches[2 * layer]),
                graph.Persistent(caches[2 * layer + 1]), table, starts, lengths));
        return new Executor(Planner.Plan(graph, device), workspace);
    }

    private static PersistentTensor Filled(CpuDevice device, TensorType type, Array values)
    {
        var tensor = new PersistentTensor("operand", type);
        device.Bind(tensor);
        device.Upload(values is float[] floats ? System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(floats)
            : System.Runtime.InteropServices.MemoryMarshal.AsBytes<int>((int[])values), tensor.Tensor);
        return tensor;
    }

    private static void Write(Utf8JsonWriter json, Row row)
    {
        json.WriteStartObject();
        json.WriteString("cache", $"{row.Type}");
        json.WriteNumber("context", row.Context);
        json.WriteNumber("tokens", row.Rows);
        json.WriteNumber("ms", Math.Round(row.Seconds * 1e3, 3));
        json.WriteNumber("shortest_ms", Math.Round(row.Shortest * 1e3, 3));
        json.WriteNumber("cache_bytes", row.Bytes);
        json.WriteNumber("gbs", Math.Round(row.Bytes / row.Seconds / 1e9, 1));
        json.WriteNumber("read_bandwidth_gbs", Math.Round(row.Bandwidth / 1e9, 1));
        json.WriteBoolean("machine_was_calm", row.IsCalm);
        json.WriteEndObject();
    }
}
