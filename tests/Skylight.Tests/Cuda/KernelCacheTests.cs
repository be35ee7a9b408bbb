using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>Compiled kernels are kept on disk, and files that are not what they should be do no harm.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class KernelCacheTests : IDisposable
{
    private readonly TemporaryFolder _temporary = new();

    private string Folder => _temporary["kernels"];

    public void Dispose() => _temporary.Dispose();

    [Fact]
    public void A_kernel_is_compiled_once_for_many_devices()
    {
        Assert.Equal(1, CompilationsOfARun(2));
        Assert.Equal(0, CompilationsOfARun(3));
        Assert.Single(Directory.GetFiles(Folder));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(40)]
    [InlineData(1000)]
    public void A_file_that_was_cut_off_is_compiled_anew(int bytes)
    {
        CompilationsOfARun(2);
        string file = Assert.Single(Directory.GetFiles(Folder));
        byte[] whole = File.ReadAllBytes(file);
        File.WriteAllBytes(file, whole[..bytes]);
        Assert.Equal(1, CompilationsOfARun(2));
        Assert.Equal(whole.Length, new FileInfo(file).Length);
    }

    [Fact]
    public void A_file_with_a_flipped_bit_is_compiled_anew()
    {
        CompilationsOfARun(2);
        string file = Assert.Single(Directory.GetFiles(Folder));
        byte[] bytes = File.ReadAllBytes(file);
        bytes[^100] ^= 1;
        File.WriteAllBytes(file, bytes);
        Assert.Equal(1, CompilationsOfARun(2));
    }

    [Fact]
    public void A_file_of_an_older_format_is_compiled_anew()
    {
        CompilationsOfARun(2);
        string file = Assert.Single(Directory.GetFiles(Folder));
        byte[] bytes = File.ReadAllBytes(file);
        int version = bytes.AsSpan().IndexOf((byte)'\n') - 1;
        Assert.Equal((byte)'2', bytes[version]);
        bytes[version] = (byte)'1';
        File.WriteAllBytes(file, bytes);
        Assert.Equal(1, CompilationsOfARun(2));
        Assert.Equal((byte)'2', File.ReadAllBytes(file)[version]);
    }

    [Fact]
    public void A_folder_that_cannot_be_written_costs_compilations_only()
    {
        File.WriteAllText(Folder, "a file where the folder should be");
        Assert.Equal(1, CompilationsOfARun(2));
        Assert.Equal(1, CompilationsOfARun(2));
    }

    private int CompilationsOfARun(float factor)
    {
        using var card = new SimulatedCard(cacheFolder: Folder);
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(new Scale(factor),
            TensorType.Float32(5));
        executor.Write<float>(inputs[0], [1, 2, 3, 4, 5]);
        executor.Run();
        Assert.Equal(Enumerable.Range(1, 5).Select(x => factor * x), executor.Read<float>(outputs[0]));
        return card.Device.Modules.Cache.Compilations;
    }
}
