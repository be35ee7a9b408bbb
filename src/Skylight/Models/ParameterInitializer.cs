using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>Random initial values of parameters.</summary>
internal static class ParameterInitializer
{
    private const float EmbeddingDeviation = 0.02f;

    /// <summary>The initial elements of a parameter, row-major.</summary>
    public static float[] Values(PersistentTensor parameter, ModelConfiguration configuration, ulong seed, ulong stream)
    {
        string name = parameter.Name;
        var values = new float[parameter.Type.Shape.ElementCount];
        if (name.EndsWith("bias", StringComparison.Ordinal))
            return values;
        if (name.EndsWith("norm.weight", StringComparison.Ordinal) || name.EndsWith("norm1.weight", StringComparison.Ordinal) || name.EndsWith("norm2.weight", StringComparison.Ordinal))
        {
            Array.Fill(values, 1f);
            return values;
        }

        if (name.Contains(".scale", StringComparison.Ordinal))
        {
            Array.Fill(values, configuration.Vision.LayerScaleInitial);
            return values;
        }

        FillNormal(values, Deviation(parameter, configuration), new CounterRandom(seed, stream));
        return values;
    }

    private static float Deviation(PersistentTensor parameter, ModelConfiguration configuration)
    {
        string name = parameter.Name;
        if (parameter.Type.Storage != Storage.Weight || name.Contains("embedding", StringComparison.Ordinal) && !name.Contains("patch", StringComparison.Ordinal))
            return EmbeddingDeviation;
        float deviation = 1f / MathF.Sqrt(parameter.Type.Shape.Columns);
        bool residual = name.EndsWith("attention.output.weight", StringComparison.Ordinal) || name.EndsWith("mlp.down.weight", StringComparison.Ordinal);
        return residual ? deviation / MathF.Sqrt(2f * configuration.Language.LayerCount) : deviation;
    }

    /// <summary>Box–Muller; the same bits on every machine up to the last place of log and cos.</summary>
    private static void FillNormal(float[] values, float deviation, CounterRandom random)
    {
        for (int index = 0; index < values.Length; index++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - (double)random.NextSingle()));
            values[index] = (float)(deviation * radius * Math.Cos(2 * Math.PI * random.NextSingle()));
        }
    }
}
