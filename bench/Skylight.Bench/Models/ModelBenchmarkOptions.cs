using System.Globalization;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>What the verb 'model' measures.</summary>
internal sealed record ModelBenchmarkOptions
{
    /// <summary>The command line, for errors.</summary>
    public const string Usage =
        "model [--like internvl3-1b] [--batch 1,8] [--prompt 64,512] [--tiles 0,1] [--depth 4096,16384] " +
        "[--dtype bfloat16|float32|q8|q4|q4_k_m] [--kv-cache-dtype auto,bfloat16,int8] [--seconds 12] [--llama-cpp FOLDER] [--output PATH]";

    /// <summary>A member of <see cref="ModelFamily"/>.</summary>
    public string Like { get; init; } = "internvl3-1b";

    /// <summary>Sequences that decode side by side.</summary>
    public int[] Batches { get; init; } = [1, 8];

    /// <summary>Text tokens of prompts.</summary>
    public int[] Prompts { get; init; } = [64, 512];

    /// <summary>Tiles of the picture before the prompt; 0 for text alone.</summary>
    public int[] Tiles { get; init; } = [0, 1];

    /// <summary>Tokens after which 512 more are read, and one after the other is made.</summary>
    public int[] Depths { get; init; } = [];

    /// <summary>
    /// The types of key-value caches that passes after <see cref="Depths"/> are measured with, in turn; null for the device's.
    /// </summary>
    public DataType?[] CacheTypes { get; init; } = [null];

    /// <summary>Whether the language model is llama.cpp's Q4_K_M, made by its own code; needs <see cref="LlamaCpp"/>.</summary>
    public bool IsMixed { get; init; }

    /// <summary>Of the parameters.</summary>
    public DataType Type { get; init; } = DataType.BFloat16;

    /// <summary>What the language model's matrices are rounded to; null for nothing.</summary>
    public QuantizedFormat? Quantization { get; init; }

    /// <summary>The longest that one measurement goes on.</summary>
    public double Seconds { get; init; } = 12;

    /// <summary>The folder of a llama.cpp library that is measured in turn on the language part; null without.</summary>
    public string? LlamaCpp { get; init; }

    /// <summary>Where the results go; null to write none.</summary>
    public string? Output { get; init; }

    /// <summary>Reads the arguments after the verb.</summary>
    /// <returns>The options, or what is wrong.</returns>
    public static (ModelBenchmarkOptions? Options, string? Fault) Parse(ReadOnlySpan<string> arguments)
    {
        var options = new ModelBenchmarkOptions();
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string name = arguments[index];
            if (index + 1 == arguments.Length)
                return (null, $"{name} needs a value.");
            string value = arguments[index + 1];
            ModelBenchmarkOptions? next = name switch
            {
                "--like" => ModelFamily.Names.Contains(value) ? options with { Like = value } : null,
                "--batch" => Numbers(value, 1) is { } batches ? options with { Batches = batches } : null,
                "--prompt" => Numbers(value, 1) is { } prompts ? options with { Prompts = prompts } : null,
                "--depth" => Numbers(value, 1) is { } depths ? options with { Depths = depths } : null,
                "--tiles" => Numbers(value, 0) is { } tiles ? options with { Tiles = tiles } : null,
                "--dtype" => value switch
                {
                    "bfloat16" => options with { Type = DataType.BFloat16 },
                    "float32" => options with { Type = DataType.Float32 },
                    "q8" => options with { Quantization = QuantizedFormat.Q8 },
                    "q4" => options with { Quantization = QuantizedFormat.Q4 },
                    "q4_k_m" => options with { IsMixed = true },
                    _ => null,
                },
                "--kv-cache-dtype" => Types(value) is { } types ? options with { CacheTypes = types } : null,
                "--seconds" => double.TryParse(value, CultureInfo.InvariantCulture, out double seconds) && seconds > 0
                    ? options with { Seconds = seconds } : null,
                "--llama-cpp" => options with { LlamaCpp = Path.GetFullPath(value) },
                "--output" => options with { Output = value },
                _ => null,
            };
            if (next is null)
                return (null, $"'{name} {value}' is not understood. Models: {string.Join(", ", ModelFamily.Names)}.");
            options = next;
        }

        return options is { IsMixed: true, LlamaCpp: null } ? (null, "q4_k_m is made by llama.cpp: give --llama-cpp.")
            : (options, null);
    }

    private static DataType?[]? Types(string list)
    {
        var types = new List<DataType?>();
        foreach (string part in list.Split(','))
        {
            switch (part)
            {
                case "auto":
                    types.Add(null);
                    break;
                case "float32" or "bfloat16" or "int8":
                    types.Add(Enum.Parse<DataType>(part, ignoreCase: true));
                    break;
                default:
                    return null;
            }
        }

        return [.. types];
    }

    private static int[]? Numbers(string list, int least)
    {
        var numbers = new List<int>();
        foreach (string part in list.Split(','))
        {
            if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) || number < least)
                return null;
            numbers.Add(number);
        }

        return [.. numbers];
    }
}
