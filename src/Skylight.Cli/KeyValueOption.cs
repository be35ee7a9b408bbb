using System.CommandLine;
using Skylight.Tensors;

namespace Skylight.Cli;

/// <summary>The option that says in which type keys and values are kept.</summary>
internal static class KeyValueOption
{
    private const string Auto = "auto";

    public static Option<string> Create()
    {
        var option = new Option<string>("--kv-cache-dtype")
        {
            Description =
                "The data type of the key-value cache. int8, on the CPU: nearly twice the tokens of bfloat16 in the same " +
                "memory, slightly other answers. auto is what the device has for the model.",
            DefaultValueFactory = _ => Auto,
        };
        option.AcceptOnlyFromAmong(Auto, "float32", "bfloat16", "int8");
        return option;
    }

    /// <summary>The type that was asked for; null for the device's.</summary>
    public static DataType? TypeOf(string value) => value switch
    {
        "float32" => DataType.Float32,
        "bfloat16" => DataType.BFloat16,
        "int8" => DataType.Int8,
        _ => null,
    };
}
