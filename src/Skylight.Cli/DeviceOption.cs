using System.CommandLine;
using Skylight.Cpu;
using Skylight.Execution;

namespace Skylight.Cli;

/// <summary>The <c>--device</c> option of every command.</summary>
internal static class DeviceOption
{
    public static Option<string> Create(string defaultDevice = "cpu") => new("--device") { Description = "Where to run: cpu, cuda:0 (or another number), or simt, the CUDA emulator.", DefaultValueFactory = _ => defaultDevice };

    /// <summary>Opens a device by name; never another one than asked for.</summary>
    public static Device Open(string name) => name switch
    {
        "cpu" => new CpuDevice(),
        _ => throw new ArgumentException($"There is no device '{name}'. This build knows: cpu."),
    };
}
