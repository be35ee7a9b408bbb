using System.Runtime.InteropServices;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Execution;

/// <summary>The elements of persistent tensors (parameters, gradients, moments) as float32, whatever their data type and the order in which a device stores them.</summary>
public static class PersistentTensors
{
    /// <summary>Sets a parameter, rounding to its data type.</summary>
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="rowMajor">All its elements, row-major.</param>
    /// <exception cref="ArgumentException">It was rounded to int8.</exception>
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
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    /// <exception cref="ArgumentException">It was rounded to int8.</exception>
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

    private static void RefuseQuantized(PersistentTensor parameter)
    {
        if (parameter.Type.DataType == DataType.Int8)
            throw new ArgumentException($"'{parameter.Name}' was rounded to int8 for inference: its numbers can be neither read nor set. Load the model again.", nameof(parameter));
    }
}
