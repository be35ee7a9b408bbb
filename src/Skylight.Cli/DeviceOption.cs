using System.CommandLine;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Cli;

/// <summary>The <c>--device</c> option of every command.</summary>
internal static class DeviceOption
{
    /// <summary>The device of who names none.</summary>
    public const string Default = "cpu";

    /// <summary>The CUDA emulator.</summary>
    public const string Emulator = "simt";

    private const string Cuda = "cuda";

    public static Option<string> Create(string defaultDevice = Default)
    {
        var option = new Option<string>("--device")
        {
            Description = "Where to run: cpu; cuda:0 or another card; simt, the CUDA emulator.",
            HelpName = "device",
            DefaultValueFactory = _ => defaultDevice,
        };
        option.CompletionSources.Add(Default, "cuda:0", Emulator);
        return option;
    }

    /// <summary>The <c>--compute</c> option: what products with bfloat16 weights compute with on the CPU.</summary>
    public static Option<string?> CreateCompute()
    {
        var option = new Option<string?>("--compute")
        {
            Description =
                "What products with bfloat16 weights round their operands to on the CPU: bfloat16 (by default where the " +
                "processor has dot products of bfloat16), or float32.",
        };
        option.AcceptOnlyFromAmong("bfloat16", "float32");
        return option;
    }

    /// <summary>Says why the first use takes so long.</summary>
    private static void SayThatItIsBuilt() =>
        Console.Error.WriteLine(
            "The emulator is compiled now, because this is its first use on this machine. This can take minutes.");

    /// <summary>A device in words: its name, and for CUDA that of the card.</summary>
    public static string Describe(Device device) =>
        device is CudaDevice card ? $"{card.Name} ({card.CardName})" : device.Name;

    /// <summary>Opens a device by name; never another one than asked for.</summary>
    /// <param name="name">What was given to the option.</param>
    /// <param name="memoryBytes">What plans may use; null for what there is.</param>
    /// <param name="compute">What was given to <c>--compute</c>.</param>
    public static Device Open(string name, long? memoryBytes = null, string? compute = null)
    {
        if (name == Default)
            return new CpuDevice(new CpuDeviceOptions
            {
                MemoryBytes = memoryBytes,
                Compute = compute switch
                {
                    "bfloat16" => DataType.BFloat16,
                    "float32" => DataType.Float32,
                    _ => null,
                },
            });
        if (compute is not null)
            throw new ArgumentException($"--compute is for the CPU; '{name}' computes in bfloat16. Leave it out.");
        if (name is Emulator or Cuda || name.StartsWith($"{Cuda}:", StringComparison.Ordinal))
        {
            CudaDevice card = CudaDevices.Open(name, new CudaDeviceOptions { MemoryBytes = memoryBytes }, SayThatItIsBuilt);
            if (card.WarpgroupsOff is { } reason)
                Console.Error.WriteLine($"{Describe(card)}: kernels by wgmma are off: {reason}.");
            return card;
        }

        throw new ArgumentException(
            $"There is no device '{name}'. This build knows: cpu, cuda:0 (or another number) and simt.");
    }
}
