using System.CommandLine;
using Skylight.Cpu;
using Skylight.Execution;

namespace Skylight.Cli;

/// <summary>The <c>--device</c> option of every command.</summary>
internal static class DeviceOption
{
    public static Option<string> Create() => new("--device") { Description = "Where to run: cpu.", DefaultValueFactory = _ => "cpu" };

    /// <summary>Opens a device by name; never another one than asked for.</summary>
    public static Device Open(string name) => name switch
    {
        "cpu" => new CpuDevice(),
        _ => throw new ArgumentException($"There is no device '{name}'. This build knows: cpu."),
    };
}
