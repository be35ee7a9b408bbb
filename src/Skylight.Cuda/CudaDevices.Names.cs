using System.Globalization;
using Skylight.Execution;

namespace Skylight.Cuda;

public static partial class CudaDevices
{
    private const string CardName = "cuda", EmulatorName = "simt";

    /// <summary>Lets <see cref="Device.Parse"/> open cards and the emulator.</summary>
    /// <param name="building">Hears that the emulator is compiled, at its first use on a machine: that takes
    /// minutes.</param>
    /// <example>
    /// <code>
    /// CudaDevices.Register();
    /// using Device device = Device.Parse("cuda:0");
    /// </code>
    /// </example>
    public static void Register(Action? building = null)
    {
        Device.Register(CardName, name => Open(name));
        Device.Register(EmulatorName, name => Open(name, building: building));
    }

    /// <summary>Opens a device by its name.</summary>
    /// <param name="name"><c>cuda</c> or <c>cuda:0</c> for the first card, <c>cuda:1</c> …; <c>simt</c> for the
    /// emulator.</param>
    /// <param name="options">How it is made; number and libraries follow from the name.</param>
    /// <param name="building">Hears that the emulator is compiled.</param>
    /// <exception cref="ArgumentException">The name is neither.</exception>
    /// <exception cref="CudaException">A library was not found, there is no such card, or a call failed.</exception>
    public static CudaDevice Open(string name, CudaDeviceOptions? options = null, Action? building = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        options ??= new CudaDeviceOptions();
        if (name == EmulatorName)
            return new CudaDevice(options with { Libraries = CudaLibraries.LoadSimulated(building: building), Ordinal = 0 });
        if (name == CardName)
            return new CudaDevice(options with { Ordinal = 0 });
        ReadOnlySpan<char> number = name.StartsWith($"{CardName}:", StringComparison.Ordinal)
            ? name.AsSpan(CardName.Length + 1) : [];
        return int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal)
            ? new CudaDevice(options with { Ordinal = ordinal })
            : throw new ArgumentException(
                $"There is no device '{name}': a card is 'cuda:0' or has another number, the emulator is 'simt'.",
                nameof(name));
    }
}
