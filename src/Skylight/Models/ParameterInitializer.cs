using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>Random initial values of parameters.</summary>
internal static class ParameterInitializer
{
    private const float EmbeddingDeviation = 0.02f;

    // A part of this many elements is one thread's work.
    private const int PartElements = 1 << 16;

    /// <summary>The initial elements of a parameter, row-major.</summary>
    public static float[] Values(PersistentTensor parameter, ModelConfiguration configuration, ulong seed, ulong stream)
    {
        var values = new float[parameter.Type.Shape.ElementCount];
        Fill(parameter, configuration, seed, stream, 0, values);
        return values;
    }

    /// <summary>
    /// Some of the initial elements of a parameter, computed on all cores; the same ones whatever the parts in which
    /// they are asked for.
    /// </summary>
    /// <param name="parameter">Its name and shape say what it starts with.</param>
    /// <param name="configuration">The model.</param>
    /// <param name="seed">The seed of the model.</param>
    /// <param name="stream">The parameter's place among all.</param>
    /// <param name="firstElement">Where to start, row-major.</param>
    /// <param name="destination">As many elements as are wanted.</param>
    public static void Fill(PersistentTensor parameter, ModelConfiguration configuration, ulong seed, ulong stream,
        long firstElement, Span<float> destination)
    {
        string name = parameter.Name;
        if (name.EndsWith("bias", StringComparison.Ordinal))
        {
            destination.Clear();
        }
        else if (name.EndsWith("norm.weight", StringComparison.Ordinal)
            || name.EndsWith("norm1.weight", StringComparison.Ordinal)
            || name.EndsWith("norm2.weight", StringComparison.Ordinal))
        {
            destination.Fill(1f);
        }
        else if (name.Contains(".scale", StringComparison.Ordinal))
        {
            destination.Fill(configuration.Vision.LayerScaleInitial);
        }
        else
        {
            FillNormalInParallel(destination, Deviation(parameter, configuration), seed, stream, firstElement);
        }
    }

    private static float Deviation(PersistentTensor parameter, ModelConfiguration configuration)
    {
        string name = parameter.Name;
        if (parameter.Type.Storage != Storage.Weight || name.Contains("embedding", StringComparison.Ordinal)
            && !name.Contains("patch", StringComparison.Ordinal))
            return EmbeddingDeviation;
        float deviation = 1f / MathF.Sqrt(parameter.Type.Shape.Columns);
        bool residual = name.EndsWith("attention.output.weight", StringComparison.Ordinal)
            || name.EndsWith("mlp.down.weight", StringComparison.Ordinal);
        return residual ? deviation / MathF.Sqrt(2f * configuration.Language.LayerCount) : deviation;
    }

    private static unsafe void FillNormalInParallel(Span<float> values, float deviation, ulong seed, ulong stream,
        long firstElement)
    {
        int parts = (values.Length + PartElements - 1) / PartElements, length = values.Length;
        if (parts <= 1)
        {
            NormalNumbers.Fill(values, deviation, seed, stream, firstElement);
            return;
        }

        fixed (float* start = values)
        {
            float* first = start;
            Parallel.For(0, parts, part =>
            {
                int offset = part * PartElements;
                NormalNumbers.Fill(new Span<float>(first + offset, Math.Min(PartElements, length - offset)), deviation,
                    seed, stream, firstElement + offset);
            });
        }
    }
}
