namespace Skylight.Checkpoints;

/// <summary>What every configuration record must satisfy, whether it was read from a file or made by a program.</summary>
internal static class ConfigurationCheck
{
    // Far above any model; keeps a corrupt file from making millions of parameter names.
    private const int MostLayers = 1024;

    public static void Positive(string file, string path, int most, params ReadOnlySpan<(string Field, int Value)> fields)
    {
        foreach ((string field, int value) in fields)
        {
            if (value < 1 || value > most)
                throw new CheckpointException(file, $"'{path}{field}' is {value}; supported: 1 to {most}.");
        }
    }

    public static void LayerCount(string file, string path, int layers)
    {
        if (layers > MostLayers)
            throw new CheckpointException(file, $"'{path}num_hidden_layers' is {layers}; supported: at most {MostLayers}.");
    }

    public static void Divides(string file, string path, string field, int value, string divisorField, int divisor)
    {
        if (value % divisor != 0)
            throw new CheckpointException(file,
                $"'{path}{field}' is {value} and '{path}{divisorField}' is {divisor}; supported: the second divides " +
                $"the first.");
    }

    public static void Epsilon(string file, string field, float value)
    {
        if (!float.IsFinite(value) || value <= 0)
            throw new CheckpointException(file, $"'{field}' is {value}; supported: a positive number in float32's range.");
    }
}
