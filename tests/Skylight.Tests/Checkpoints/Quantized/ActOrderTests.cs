using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;

namespace Skylight.Tests.Checkpoints.Quantized;

/// <summary>GPTQ weights with act-order stay packed, and their products are those of the numbers.</summary>
public sealed class ActOrderTests
{
    private const string Qkv = "language.layers.0.attention.qkv.weight", GateUp = "language.layers.1.mlp.gate_up.weight",
        Down = "language.layers.1.mlp.down.weight", Embedding = "language_model.model.embed_tokens";

    [Fact]
    public void Weights_stay_packed_with_one_order_for_all_that_read_the_same_activations()
    {
        using var folder = new ActOrderFolder(ActOrderFolder.ByInput);
        using CpuDevice device = new(), other = new();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device),
            plain = ModelCheckpoint.Load(Golden.PathOf("quant/gptq"), other);
        PersistentTensor[] orders = [.. model.Parameters.All.Where(parameter => parameter.Type.DataType == DataType.Int32)],
            weights = [.. model.Parameters.All.Where(parameter => parameter.Type.Format is not null)];
        Assert.Equal(8, weights.Length);
        Assert.All(weights, weight => Assert.Equal(new QuantizedFormat(CodeType.UInt4, 32, true)
        {
            HasHalfScales = true,
            HasZeroPoints = true,
            HasInputOrder = true,
        }, weight.Type.Format));
        Assert.Equal(weights.Select(weight => weight.Name + ".input_order"), orders.Select(order => order.Name));
        Assert.Equal(plain.Parameters.ElementCount, model.Parameters.ElementCount);
        using VisionLanguageModel planned = ModelCheckpoint.Describe(folder.Path, new CpuDevice());
        Assert.Equal(planned.Parameters.All.Sum(parameter => planned.Device.StorageBytes(parameter.Type)),
            device.ReservedPeakBytes);
        foreach (PersistentTensor order in orders)
        {
            int[] places = CpuMemory.Span<int>(order.Tensor).ToArray();
            Assert.NotEqual(Enumerable.Range(0, places.Length), places);
            Assert.Equal(Enumerable.Range(0, places.Length), places.Order());
            // Within a group inputs ascend.
            Assert.All(places.Chunk(32), group => Assert.Equal(group.Order(), group));
        }
    }

    [Fact]
    public void Products_are_those_of_the_numbers()
    {
        using var folder = new ActOrderFolder(ActOrderFolder.ByInput);
        using CpuDevice device = new(new CpuDeviceOptions { Compute = DataType.Float32 }), rounding = new(), other = new();
        using VisionLanguageModel packed = ModelCheckpoint.Load(folder.Path, device),
            rounded = ModelCheckpoint.Load(folder.Path, rounding),
            numbers = ModelCheckpoint.Load(Golden.PathOf("quant/gptq"), other, DataType.Float32);
        foreach (string name in (string[])[Qkv, GateUp, Down])
        {
            float[] x = Numbers.Random(5, 7 * numbers.Parameters[name].Type.Shape.Columns),
                expected = Product(numbers, name, x);
            Assert.InRange(Distance(expected, Product(packed, name, x)), 1e-9, 1e-6);
            Assert.InRange(Distance(expected, Product(rounded, name, x)), 1e-4, 2e-2);
        }
    }

    [Fact]
    public void A_row_alone_has_the_bits_that_it_has_beside_others()
    {
        using var folder = new ActOrderFolder(module => module.EndsWith("k_proj", StringComparison.Ordinal) ? 1 : 2);
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device);
        foreach (string name in (string[])[Qkv, GateUp, Down])
        {
            const int Rows = 37;
            int inputs = name == Down ? 512 : 256;
            float[] x = Numbers.Random(6, Rows * inputs), together = Product(model, name, x);
            int outputs = together.Length / Rows;
            for (int row = 0; row < Rows; row++)
                Assert.Equal(together[(row * outputs)..((row + 1) * outputs)].Select(BitConverter.SingleToInt32Bits),
                    Product(model, name, x[(row * inputs)..((row + 1) * inputs)]).Select(BitConverter.SingleToInt32Bits));
        }
    }

    [Fact]
    public void Prompts_read_in_parts_and_beside_others_give_the_same_bits()
    {
        using var folder = new ActOrderFolder(ActOrderFolder.ByInput);
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device);
        GenerationRequest[] requests = [.. new[] { (40, 2), (31, 1), (5, 3) }.Select(request => new GenerationRequest(
            new TokenSequence([.. Enumerable.Range(1, request.Item1).Select(token => token * 11 % 400)]), request.Item2,
            (ulong)request.Item1))];
        Completion[] whole = Generate(4096, requests);
        Assert.All(whole, completion => Assert.Equal(12, completion.Tokens.Length));
        foreach (int part in (int[])[1, 7, 33])
            AssertSame(whole, Generate(part, requests));
        AssertSame(whole, [.. requests.SelectMany(request => Generate(4096, request))]);

        Completion[] Generate(int prefillTokens, params GenerationRequest[] some)
        {
            using var engine = new GenerationEngine(model, 1024, prefillTokens);
            return [.. engine.Generate(some, new SamplingOptions { MaxOutputTokens = 12, Seed = 3 }).SelectMany(all => all)];
        }

        static void AssertSame(Completion[] expected, Completion[] found) => Assert.Equal(
            expected.SelectMany(one => one.LogProbabilities.Select(BitConverter.SingleToInt32Bits).Concat(one.Tokens)),
            found.SelectMany(one => one.LogProbabilities.Select(BitConverter.SingleToInt32Bits).Concat(one.Tokens)));
    }

    [Theory]
    [InlineData("qkv", 1, 1)]
    [InlineData("q,kv", 2, 2)]
    [InlineData("q,k,v", 3, 3)]
    [InlineData("qv,k", 3, 2)]
    public void Activations_are_put_into_an_order_once(string orders, int parts, int permutations)
    {
        string[] groups = orders.Split(',');
        using var folder = new ActOrderFolder(module => 1 + Array.FindIndex(groups, group => group.Contains(
            module[module.LastIndexOf('.') + 1], StringComparison.Ordinal)));
        using CpuDevice device = new(new CpuDeviceOptions { Compute = DataType.Float32 }), other = new();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device),
            numbers = ModelCheckpoint.Load(Golden.PathOf("quant/gptq"), other, DataType.Float32);
        var graph = new Graph();
        Write(graph, model, Qkv, rows: 2);
        Assert.Equal((parts, permutations), (graph.Nodes.Count(node => node.Op is MatMul),
            graph.Nodes.Count(node => node.Op is PermuteColumns)));
        // Biases have gone into the same parts.
        float[] x = Numbers.Random(7, 3 * 256);
        Assert.InRange(Distance(Product(numbers, Qkv, x), Product(model, Qkv, x)), 1e-9, 1e-6);
    }

    [Fact]
    public void What_cannot_be_packed_is_numbers()
    {
        // A group with one input too many, and a table of embeddings, whose rows are looked up.
        using var folder = new ActOrderFolder(ActOrderFolder.ByInput, tensors =>
        {
            byte[] groups = tensors["language_model.model.layers.1.mlp.down_proj.g_idx"].Bytes;
            groups[0] = groups.Where((_, index) => index % 4 == 0).First(group => group != groups[0]);
            foreach (string part in (string[])[".qweight", ".scales", ".qzeros", ".g_idx"])
                tensors.Add(Embedding + part, tensors["language_model.model.layers.0.mlp.up_proj" + part]);
            tensors.Remove(Embedding + ".weight");
        });
        using CpuDevice device = new(), other = new();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device),
            numbers = ModelCheckpoint.Load(folder.Path, other, model.ParameterType);
        Assert.All((string[])[Down, LanguageModel.EmbeddingName], name =>
        {
            Assert.Null(model.Parameters[name].Type.Format);
            Assert.Equal(PersistentTensors.Read(other, numbers.Parameters[name]),
                PersistentTensors.Read(device, model.Parameters[name]));
        });
        Assert.NotNull(model.Parameters[GateUp].Type.Format);
        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        Assert.EndsWith("act-order in unequal groups", reader["language_model.model.layers.1.mlp.down_proj.weight"].TypeName,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Packed_weights_are_kept_with_their_orders()
    {
        using var folder = new ActOrderFolder(ActOrderFolder.ByInput);
        using var kept = new TemporaryFolder();
        var notices = new List<string>();
        var options = new WeightCacheOptions
        {
            Folder = kept["weights"],
            Keeps = KeptWeights.All,
            SmallestBytes = 0,
            Notice = notices.Add,
        };
        float[] x = Numbers.Random(8, 256);
        float[][] products = [.. Enumerable.Range(0, 2).Select(_ =>
        {
            using var device = new CpuDevice();
            using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device, weightCache: options);
            return Product(model, Qkv, x);
        })];
        Assert.Equal(products[0], products[1]);
        Assert.Contains("are kept in", Assert.Single(notices), StringComparison.Ordinal);
    }

    [Fact]
    public void A_checkpoint_with_other_orders_is_not_read_into_a_model()
    {
        using ActOrderFolder folder = new(ActOrderFolder.ByInput),
            other = new(module => module.EndsWith("v_proj", StringComparison.Ordinal) ? 1 : 2);
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device);
        CheckpointException error = Assert.Throws<CheckpointException>(() => ModelCheckpoint.ReadInto(model, other.Path));
        Assert.Contains("has its inputs in an order that language.layers.0.attention.qkv.weight.input_order cannot have",
            error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_of_a_table_in_another_order_are_not_looked_up()
    {
        TensorType table = TensorType.Quantized(QuantizedFormat.Q4 with { HasInputOrder = true }, new Shape(8, 32));
        Assert.Contains("in another order", Assert.Throws<GraphException>(() =>
            new EmbeddingLookup().Infer([table, TensorType.Int32(3)])).Message, StringComparison.Ordinal);
    }

    private static Value Write(Graph graph, VisionLanguageModel model, string name, int rows)
    {
        Value x = graph.Input("x", TensorType.Float32(rows, name == Down ? 512 : 256));
        graph.Output("y", model.Parameters.Product(graph, x, name, name == Qkv ? name.Replace(".weight", ".bias",
            StringComparison.Ordinal) : null));
        return x;
    }

    private static float[] Product(VisionLanguageModel model, string name, float[] x)
    {
        var graph = new Graph();
        Value input = Write(graph, model, name, x.Length / (name == Down ? 512 : 256));
        using var workspace = new Workspace(model.Device);
        var executor = new Executor(Planner.Plan(graph, model.Device), workspace);
        executor.Write<float>(input, x);
        executor.Run();
        return executor.Read<float>(graph.OutputNamed("y"));
    }

    private static double Distance(float[] expected, float[] found)
    {
        double difference = expected.Zip(found, (a, b) => Math.Pow(a - (double)b, 2)).Sum(),
            length = expected.Sum(value => (double)value * value);
        return Math.Sqrt(difference / length);
    }
}
