using Skylight.Checkpoints;

namespace Skylight.Tests.Ops;

/// <summary>The tensors of a reference dump.</summary>
internal sealed class GoldenDump : IDisposable
{
    private readonly SafetensorsFile _file;

    private GoldenDump(SafetensorsFile file) => _file = file;

    public static GoldenDump Open(string style) => new(SafetensorsFile.Open(Golden.PathOf($"{style}/golden.safetensors")));

    public float[] Floats(string name) => _file.ReadFloat32(name);

    public int[] Integers(string name)
    {
        var values = new int[_file[name].ElementCount];
        _file.ReadInt32(name, values);
        return values;
    }

    public void Dispose() => _file.Dispose();
}
