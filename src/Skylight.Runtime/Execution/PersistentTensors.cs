using System.Runtime.InteropServices;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Execution;

/// <summary>
/// The elements of persistent tensors (parameters, gradients, moments) as float32, whatever their data type and the
/// order in which a device stores them. They travel in parts of some megabytes: the bytes of an embedding of 8 billion
/// parameters and more are too many for one buffer.
/// </summary>
public static class PersistentTensors
{
    /// <summary>
    /// What is uploaded or downloaded at once, in bytes, unless <see cref="Device.RowBlock"/> rows are more.
    /// </summary>
    internal const int PartBytes = 1 << 24;

    /// <summary>Sets a parameter, rounding to its data type.</summary>
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="rowMajor">All its elements, row-major.</param>
    /// <exception cref="ArgumentException">There are more or fewer elements than the parameter has, or it was quantised.</exception>
    public static void Write(Device device, PersistentTensor parameter, ReadOnlySpan<float> rowMajor)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parameter);
        RefuseQuantized(parameter);
        if (rowMajor.Length != parameter.Type.Shape.ElementCount)
            throw new ArgumentException(
                $"'{parameter.Name}' ({parameter.Type}) has {parameter.Type.Shape.ElementCount} elements, not " +
                $"{rowMajor.Length}.", nameof(rowMajor));
        parameter.MarkChanged();
        int done = 0;
        foreach (Tensor part in Parts(device, parameter))
        {
            int count = (int)part.Type.Shape.ElementCount;
            Upload(device, rowMajor.Slice(done, count), part);
            done += count;
        }
    }

    /// <summary>
    /// Sets a parameter part after part, rounding to its data type, so that nothing of its size is reserved.
    /// </summary>
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="fill">Takes the index of the first element and fills in the elements, row-major.</param>
    /// <exception cref="ArgumentException">It is quantised.</exception>
    public static void WriteParts(Device device, PersistentTensor parameter, Action<long, Span<float>> fill)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(fill);
        RefuseQuantized(parameter);
        parameter.MarkChanged();
        long done = 0;
        foreach (Tensor part in Parts(device, parameter))
        {
            var elements = new float[part.Type.Shape.ElementCount];
            fill(done, elements);
            Upload(device, elements, part);
            done += elements.Length;
        }
    }

    /// <summary>Reads a parameter (or any float tensor) as float32, row-major.</summary>
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    /// <exception cref="ArgumentException">It is quantised.</exception>
    public static float[] Read(Device device, PersistentTensor parameter)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        var elements = new float[parameter.Type.Shape.ElementCount];
        ReadParts(device, parameter, (first, part) =>
        {
            part.CopyTo(elements.AsSpan((int)first));
            return true;
        });
        return elements;
    }

    /// <summary>
    /// Reads a parameter (or any float tensor) as float32, row-major, part after part, so that nothing of its size is
    /// reserved.
    /// </summary>
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="read">Takes the index of the first element and the elements, which it may not keep; returns whether
    /// to go on.</param>
    /// <exception cref="ArgumentException">It is quantised.</exception>
    public static void ReadParts(Device device, PersistentTensor parameter, Func<long, ReadOnlySpan<float>, bool> read)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(read);
        RefuseQuantized(parameter);
        long done = 0;
        foreach (Tensor part in Parts(device, parameter))
        {
            float[] elements = Download(device, part);
            if (!read(done, elements))
                return;
            done += elements.Length;
        }
    }

    /// <summary>Whether all elements of a parameter (or any float tensor) are numbers.</summary>
    /// <param name="device">Where the parameter's memory is.</param>
    /// <param name="parameter">The parameter.</param>
    public static bool AreFinite(Device device, PersistentTensor parameter)
    {
        bool finite = true;
        ReadParts(device, parameter, (_, part) =>
        {
            foreach (float element in part)
                finite &= float.IsFinite(element);
            return finite;
        });
        return finite;
    }

    /// <summary>
    /// Makes a float32 tensor agree with a parameter that is rounded from it: elements that round to the parameter's
    /// stay as they are, the others take the parameter's value.
    /// </summary>
    /// <param name="device">Where both tensors are.</param>
    /// <param name="parameter">The rounded parameter.</param>
    /// <param name="master">The float32 tensor of the same shape and storage.</param>
    /// <exception cref="ArgumentException">The shapes or storages differ.</exception>
    public static void FollowParameter(Device device, PersistentTensor parameter, PersistentTensor master)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(master);
        if (master.Type != parameter.Type with { DataType = DataType.Float32 })
            throw new ArgumentException(
                $"{master} cannot follow {parameter}: it must be float32 of the same shape and storage.", nameof(master));
        foreach ((Tensor rounded, Tensor exact) in Parts(device, parameter, master))
        {
            float[] wanted = Download(device, rounded), elements = Download(device, exact);
            bool changed = false;
            for (int index = 0; index < elements.Length; index++)
            {
                if (BitConverter.SingleToInt32Bits((float)(BFloat16)elements[index]) == BitConverter.SingleToInt32Bits(
                    wanted[index]))
                    continue;
                elements[index] = wanted[index];
                changed = true;
            }

            if (changed)
                Upload(device, elements, exact);
        }

        master.MarkChanged();
    }

    private static void Upload(Device device, ReadOnlySpan<float> elements, Tensor destination)
    {
        if (destination.Type.DataType == DataType.Float32)
        {
            device.Upload(MemoryMarshal.AsBytes(elements), destination);
            return;
        }

        var rounded = new BFloat16[elements.Length];
        for (int index = 0; index < rounded.Length; index++)
            rounded[index] = (BFloat16)elements[index];
        device.Upload(MemoryMarshal.AsBytes(rounded.AsSpan()), destination);
    }

    private static float[] Download(Device device, Tensor source)
    {
        var elements = new float[source.Type.Shape.ElementCount];
        if (source.Type.DataType == DataType.Float32)
        {
            device.Download(source, MemoryMarshal.AsBytes(elements.AsSpan()));
            return elements;
        }

        var stored = new BFloat16[elements.Length];
        device.Download(source, MemoryMarshal.AsBytes(stored.AsSpan()));
        BFloat16.Widen(stored, elements);
        return elements;
    }

    /// <summary>A tensor cut into whole blocks of rows, in order.</summary>
    private static IEnumerable<Tensor> Parts(Device device, PersistentTensor tensor)
    {
        foreach ((int first, int count) in RowsOfParts(tensor.Type))
            yield return first == 0 && count == RowsOf(tensor.Type) ? tensor.Tensor
                : device.Part(tensor.Tensor, first, count);
    }

    /// <summary>The same of two tensors of one shape.</summary>
    private static IEnumerable<(Tensor First, Tensor Second)> Parts(Device device, PersistentTensor first,
        PersistentTensor second) =>
        RowsOfParts(first.Type)
            .Select(rows => (device.Part(first.Tensor, rows.First, rows.Count),
                device.Part(second.Tensor, rows.First, rows.Count)));

    private static IEnumerable<(int First, int Count)> RowsOfParts(TensorType type)
    {
        int rows = RowsOf(type);
        long rowBytes = (type.Shape.Rank == 1 ? 1L : type.Shape.Columns) * sizeof(float);
        int block = (int)Math.Max(PartBytes / Math.Max(rowBytes, 1) / Device.RowBlock, 1) * Device.RowBlock;
        for (int first = 0; first < rows; first = (int)Math.Min((long)first + block, rows))
            yield return (first, Math.Min(block, rows - first));
    }

    private static int RowsOf(TensorType type) => type.Shape.Rank == 1 ? type.Shape[0] : type.Shape.Rows;

    private static void RefuseQuantized(PersistentTensor parameter)
    {
        if (parameter.Type.Format is not null)
            throw new ArgumentException(
                $"'{parameter.Name}' is quantised ({parameter.Type.Format}) for inference: its numbers can be neither read nor set. " +
                $"Load the model with --dtype bfloat16 or float32 (ParameterType).", nameof(parameter));
    }
}
