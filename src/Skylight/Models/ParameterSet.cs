using System.Runtime.InteropServices;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>The parameters of a model by name, in a fixed order.</summary>
public sealed class ParameterSet
{
    private readonly Dictionary<string, PersistentTensor> _byName = [];
    private readonly List<PersistentTensor> _all = [];

    /// <summary>All parameters, in the order in which the model declared them.</summary>
    public IReadOnlyList<PersistentTensor> All => _all;

    /// <summary>The number of weights in all parameters together.</summary>
    public long ElementCount => _all.Sum(parameter => parameter.Type.Shape.ElementCount);

    /// <summary>A parameter by name.</summary>
    /// <exception cref="KeyNotFoundException">There is none of that name.</exception>
    public PersistentTensor this[string name] => _byName.TryGetValue(name, out PersistentTensor? parameter)
        ? parameter
        : throw new KeyNotFoundException($"The model has no parameter '{name}'.");

    /// <summary>A parameter by name, if there is one.</summary>
    public bool TryGet(string name, out PersistentTensor? parameter) => _byName.TryGetValue(name, out parameter);

    /// <summary>Declares a matrix that is the right-hand operand of products.</summary>
    internal void AddWeight(string name, DataType dataType, int outputs, int inputs) =>
        Add(name, new TensorType(dataType, new Shape(outputs, inputs), Storage.Weight));

    /// <summary>Declares any other parameter.</summary>
    internal void Add(string name, DataType dataType, params ReadOnlySpan<int> dimensions) =>
        Add(name, new TensorType(dataType, new Shape(dimensions)));

    /// <summary>Sets a parameter, rounding to its data type.</summary>
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="rowMajor">All its elements, row-major.</param>
    public static void Write(Device device, PersistentTensor parameter, ReadOnlySpan<float> rowMajor)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parameter);
        RefuseQuantized(parameter);
        if (parameter.Type.DataType == DataType.Float32)
        {
            device.Upload(MemoryMarshal.AsBytes(rowMajor), parameter.Tensor);
            return;
        }

        var rounded = new BFloat16[rowMajor.Length];
        for (int index = 0; index < rounded.Length; index++)
            rounded[index] = (BFloat16)rowMajor[index];
        device.Upload(MemoryMarshal.AsBytes(rounded.AsSpan()), parameter.Tensor);
    }

    /// <summary>Reads a parameter (or any float tensor) as float32, row-major.</summary>
    public static float[] Read(Device device, PersistentTensor parameter)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parameter);
        RefuseQuantized(parameter);
        var elements = new float[parameter.Type.Shape.ElementCount];
        if (parameter.Type.DataType == DataType.Float32)
        {
            device.Download(parameter.Tensor, MemoryMarshal.AsBytes(elements.AsSpan()));
            return elements;
        }

        var stored = new BFloat16[elements.Length];
        device.Download(parameter.Tensor, MemoryMarshal.AsBytes(stored.AsSpan()));
        BFloat16.Widen(stored, elements);
        return elements;
    }

    /// <summary>Puts other parameters into a parameter's place; its memory is freed.</summary>
    internal void Replace(PersistentTensor old, params ReadOnlySpan<PersistentTensor> parameters)
    {
        int place = _all.IndexOf(old);
        _all.RemoveAt(place);
        _byName.Remove(old.Name);
        foreach (PersistentTensor parameter in parameters)
        {
            _all.Insert(place++, parameter);
            _byName.Add(parameter.Name, parameter);
        }

        old.Tensor.Memory.Dispose();
    }

    private static void RefuseQuantized(PersistentTensor parameter)
    {
        if (parameter.Type.DataType == DataType.Int8)
            throw new ArgumentException($"'{parameter.Name}' was rounded to int8 for inference: its numbers can be neither read nor set. Load the model again.", nameof(parameter));
    }

    private void Add(string name, TensorType type)
    {
        var parameter = new PersistentTensor(name, type);
        _byName.Add(name, parameter);
        _all.Add(parameter);
    }
}
