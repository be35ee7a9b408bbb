using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// What the comparison with the CPU cannot see of the kernels that move rows: bad indices, the cache's layout,
/// launches.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class DataMovementKernelTests
{
    [Fact]
    public void Accesses_are_as_wide_as_types_and_columns_allow()
    {
        Assert.Equal(8, RowPacks.Width([DataType.BFloat16], 896));
        Assert.Equal(4, RowPacks.Width([DataType.BFloat16, DataType.Float32], 896));
        Assert.Equal(2, RowPacks.Width([DataType.BFloat16], 14));
        Assert.Equal(1, RowPacks.Width([DataType.Float32], 16, 5));
        Assert.Equal(4, RowPacks.Width([DataType.BFloat16], 24, 4, 0));
    }

    [Fact]
    public void More_packs_than_a_kernel_can_count_are_refused()
    {
        var type = new TensorType(DataType.BFloat16, new Shape(1 << 20, 4099));
        NotSupportedException error = Assert.Throws<NotSupportedException>(() =>
            CudaBindings.Standard.Describe(new GatherRows(), [type, TensorType.Int32(1 << 20)], CudaTarget.Hopper));
        Assert.Contains("gather_rows", error.Message);
    }

    [Fact]
    public void Nothing_but_clearing_runs_for_no_tokens()
    {
        var op = new EmbeddingGradient(TensorType.Float32(4, 8));
        Assert.IsType<CudaClearStep>(
            Assert.Single(CudaBindings.Standard.Describe(op, [TensorType.Int32(0), TensorType.Float32(0, 8)],
                CudaTarget.Hopper).Steps));
        Assert.Empty(CudaBindings.Standard.Describe(new SplitColumns(3, 5), [TensorType.Float32(0, 8)],
            CudaTarget.Hopper).Steps);
    }

    [Fact]
    public void Bad_indices_are_named_in_the_words_of_the_cpu()
    {
        using CudaDevice device = Device();
        TensorType rows = Activations(4, 8), three = TensorType.Int32(3);
        AssertRefused(device, new EmbeddingLookup(DataType.BFloat16),
            "ids[1] is 4, but must be at least 0 and less than 4.", [rows, three], [0, 4, 1]);
        AssertRefused(device, new EmbeddingLookup(DataType.BFloat16),
            "ids[2] is -1, but must be at least 0 and less than 4.", [rows, three], [0, 3, -1]);
        AssertRefused(device, new EmbeddingGradient(TensorType.Float32(7, 8)),
            "ids[0] is 7, but must be at least 0 and less than 7.", [three, Activations(3, 8)], [7, 0, 6]);
        AssertRefused(device, new GatherRows(), "rows[2] is 9, but must be at least 0 and less than 4.", [rows, three],
            [0, 3, 9]);
        AssertRefused(device, new PermuteColumns(), "order[1] is 3, but must be at least 0 and less than 3.",
            [Activations(2, 3), three], [0, 3, 1]);
        AssertRefused(device, new GatherRowsBackward(2), "rows[1] is -1, but must be at least 0 and less than 2.",
            [three, Activations(3, 8)], [0, -1, 1]);
        AssertRefused(device, new ScatterImageFeatures(),
            "featureIndex[1] is -2, but must be at least -1 and less than 4.", [Activations(3, 8), rows, three],
            [0, -2, -1]);
        AssertRefused(device, new ScatterImageFeaturesGradient(4),
            "featureIndex[2] is 4, but must be at least -1 and less than 4.", [three, Activations(3, 8)], [0, -1, 4]);
        AssertRefused(device, new RotaryTable(6, 10000),
            "positions[1] is -5, but must be at least 0 and less than 2147483647.", [three], [0, -5, 1]);
    }

    [Fact]
    public void Keys_and_values_lie_row_by_row_in_their_page_and_head()
    {
        const int Heads = 2, Dimension = 8, Pages = 3;
        using CudaDevice device = Device();
        int[] slots = [37, -1, 2 * 32 + 31];
        (float[] keys, float[] values, float[] keyCache, float[] valueCache) = WriteCaches(device, slots, Heads,
            Dimension, Pages);
        var expectedKeys = new float[keyCache.Length];
        var expectedValues = new float[keyCache.Length];
        for (int token = 0; token < slots.Length; token++)
        {
            for (int column = 0; slots[token] >= 0 && column < Heads * Dimension; column++)
            {
                int place = ((slots[token] / 32 * Heads + column / Dimension) * 32 + slots[token] % 32) * Dimension
                    + column % Dimension;
                expectedKeys[place] = keys[token * Heads * Dimension + column];
                expectedValues[place] = values[token * Heads * Dimension + column];
            }
        }

        Assert.Equal(expectedKeys, keyCache);
        Assert.Equal(expectedValues, valueCache);
    }

    [Theory]
    [InlineData(96)]
    [InlineData(-2)]
    public void A_slot_outside_of_the_cache_is_named(int slot)
    {
        using CudaDevice device = Device();
        ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(
            () => WriteCaches(device, [5, slot], 1, 4, 3));
        Assert.StartsWith($"KeyValueWrite: slots[1] is {slot}, but must be −1 or within the cache's 96 slots.",
            error.Message, StringComparison.Ordinal);
    }

    private static CudaDevice Device()
    {
        Emulator.Require();
        return new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
    }

    private static TensorType Activations(params int[] shape) => new(DataType.BFloat16, new Shape(shape));

    /// <summary>
    /// Runs an op whose one integer input has the given elements, and expects an error with its name and a text; twice,
    /// since an error must not stay.
    /// </summary>
    private static void AssertRefused(CudaDevice device, Op op, string text, TensorType[] inputs, int[] index)
    {
        var graph = new Graph();
        Value[] values = [.. inputs.Select((type, input) => graph.Input($"input{input}", type))];
        graph.Output("result", graph.Add(op, values));
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        foreach (Value value in values)
        {
            if (value.Type.DataType == DataType.Int32)
                executor.Write<int>(value, index);
            else
                executor.Write<BFloat16>(value, new BFloat16[value.Shape.ElementCount]);
        }

        for (int run = 0; run < 2; run++)
        {
            ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(() =>
            {
                executor.Run();
                executor.ReadFloats(graph.Outputs[0].Value);
            });
            Assert.StartsWith($"{op.Name}: {text}", error.Message, StringComparison.Ordinal);
        }
    }

    private static (float[] Keys, float[] Values, float[] KeyCache, float[] ValueCache) WriteCaches(CudaDevice device,
        int[] slots, int heads, int dimension, int pages)
    {
        TensorType rows = Activations(slots.Length, heads * dimension);
        PersistentTensor[] caches = [.. new[]
        {
            "keys", "values",
        }.Select(name => new PersistentTensor(name, Activations(pages, heads, 32 * dimension)))];
        try
        {
            foreach (PersistentTensor cache in caches)
            {
                device.Bind(cache);
                device.Clear(cache.Tensor);
            }

            var graph = new Graph();
            Value keys = graph.Input("k", rows), values = graph.Input("v", rows),
                places = graph.Input("slots", TensorType.Int32(slots.Length));
            graph.AddNode(new KeyValueWrite(heads, dimension), keys, values, graph.Persistent(caches[0]),
                graph.Persistent(caches[1]), places);
            using var workspace = new Workspace(device);
            var executor = new Executor(Planner.Plan(graph, device), workspace);
            BFloat16[] numbers = [.. Enumerable.Range(1, slots.Length * heads * dimension)
                .Select(number => (BFloat16)number)];
            BFloat16[] negative = [.. numbers.Select(number => (BFloat16)(-(float)number))];
            executor.Write<BFloat16>(keys, numbers);
            executor.Write<BFloat16>(values, negative);
            executor.Write<int>(places, slots);
            executor.Run();
            device.Synchronize();
            return (Array.ConvertAll(numbers, number => (float)number),
                Array.ConvertAll(negative, number => (float)number), PersistentTensors.Read(device, caches[0]),
                PersistentTensors.Read(device, caches[1]));
        }
        finally
        {
            foreach (PersistentTensor cache in caches)
                cache.Tensor.Memory.Dispose();
        }
    }
}
