namespace Skylight.Tests.Checkpoints.Quantized;

/// <summary>A folder with one quantised weight <c>x.weight</c>, written by nothing of the product.</summary>
internal sealed class QuantizedFolder : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public RawTensors Tensors { get; } = [];

    public string Path => _folder.Path;

    /// <summary>Adds words.</summary>
    public QuantizedFolder Words(string name, int rows, int columns, Func<int, int, uint> word) => Add(name, "I32", [rows, columns],
        [.. Enumerable.Range(0, rows * columns).SelectMany(i => BitConverter.GetBytes(word(i / columns, i % columns)))]);

    /// <summary>Adds float16 numbers.</summary>
    public QuantizedFolder Halves(string name, int rows, int columns, Func<int, int, float> number) => Add(name, "F16", [rows, columns],
        [.. Enumerable.Range(0, rows * columns).SelectMany(i => BitConverter.GetBytes((Half)number(i / columns, i % columns)))]);

    /// <summary>Adds float32 numbers.</summary>
    public QuantizedFolder Floats(string name, int[] shape, Func<int, float> number) => Add(name, "F32", shape,
        [.. Enumerable.Range(0, shape.Aggregate(1, (product, extent) => product * extent))
            .SelectMany(i => BitConverter.GetBytes(number(i)))]);

    public QuantizedFolder Add(string name, string type, int[] shape, byte[] bytes)
    {
        Tensors[name] = new RawTensor(type, shape, bytes);
        return this;
    }

    /// <summary>Writes the tensors, with a configuration that says only how they are quantised.</summary>
    public string Write(string quantization)
    {
        Tensors.Save(_folder["model.safetensors"]);
        _folder.Write("config.json", $"{{\"quantization_config\": {quantization}}}");
        return _folder.Path;
    }

    public void Dispose() => _folder.Dispose();
}
