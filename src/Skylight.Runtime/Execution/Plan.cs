using System.Globalization;
using System.Text;
using Skylight.Graphs;

namespace Skylight.Execution;

/// <summary>Where a value lies in a plan's arena.</summary>
/// <param name="Offset">Bytes from the start of the arena.</param>
/// <param name="Bytes">The size.</param>
/// <param name="FirstStep">The step that writes it; −1 for inputs.</param>
/// <param name="LastStep">The last step that reads it; the number of steps for outputs.</param>
public readonly record struct ArenaSlot(long Offset, long Bytes, int FirstStep, int LastStep);

/// <summary>One kernel run of a plan.</summary>
/// <param name="Node">What is computed.</param>
/// <param name="Kernel">The kernel that does it.</param>
/// <param name="ScratchOffset">Where its temporary memory lies in the arena; −1 for none.</param>
public sealed record PlanStep(Node Node, Kernel Kernel, long ScratchOffset);

/// <summary>A graph made ready for a device: order, kernels, one arena with a place for every value, and its peak.</summary>
public sealed class Plan
{
    internal Plan(Graph graph, Device device, IReadOnlyList<PlanStep> steps,
        IReadOnlyDictionary<Value, ArenaSlot> slots, long arenaBytes, long persistentBytes)
    {
        Graph = graph;
        Device = device;
        Steps = steps;
        Slots = slots;
        ArenaBytes = arenaBytes;
        PersistentBytes = persistentBytes;
    }

    /// <summary>What is computed.</summary>
    public Graph Graph { get; }

    /// <summary>Where it will run.</summary>
    public Device Device { get; }

    /// <summary>The kernel runs, in order.</summary>
    public IReadOnlyList<PlanStep> Steps { get; }

    /// <summary>The places of inputs and computed values in the arena.</summary>
    public IReadOnlyDictionary<Value, ArenaSlot> Slots { get; }

    /// <summary>The size of the arena: every input, intermediate, output and temporary.</summary>
    public long ArenaBytes { get; }

    /// <summary>
    /// The beginning of the arena in which small inputs lie side by side, to be uploaded as one; see
    /// <see cref="Device.GroupedInputBytes"/>.
    /// </summary>
    internal int GroupedInputBytes { get; init; }

    /// <summary>The memory of the persistent tensors that the plan touches.</summary>
    public long PersistentBytes { get; }

    /// <summary>The most memory the plan needs at any moment.</summary>
    public long PeakBytes => ArenaBytes + PersistentBytes;

    /// <summary>The beginning of a sentence that says what the plan needs.</summary>
    internal string DescribePeak() => string.Create(
        CultureInfo.InvariantCulture,
        $"The plan needs {Gigabytes(PeakBytes)} at its peak ({Gigabytes(ArenaBytes)} of activations and temporaries, " +
        $"{Gigabytes(PersistentBytes)} of weights and state)");

    /// <summary>A number of bytes, to be read by people.</summary>
    internal static string Gigabytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB");

    /// <summary>Steps, arena map and peak, to be read by people.</summary>
    public string Describe()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture,
            $"plan on {Device.Name}: {Steps.Count} steps, peak {PeakBytes:N0} bytes = arena {ArenaBytes:N0} + " +
            $"persistent {PersistentBytes:N0}\n");
        for (int index = 0; index < Steps.Count; index++)
        {
            PlanStep step = Steps[index];
            text.Append(CultureInfo.InvariantCulture, $"{index,5}  {step.Node.Op.Name,-28}");
            foreach (Value output in step.Node.Outputs)
            {
                text.Append(Slots.TryGetValue(output, out ArenaSlot slot)
                    ? string.Create(CultureInfo.InvariantCulture,
                        $" %{output.Id}@{slot.Offset:N0}+{slot.Bytes:N0} until {slot.LastStep}")
                    : string.Create(CultureInfo.InvariantCulture, $" %{output.Id} unused"));
            }

            if (step.ScratchOffset >= 0)
                text.Append(CultureInfo.InvariantCulture, $" scratch@{step.ScratchOffset:N0}+{step.Kernel.ScratchBytes:N0}");
            if (step.Node.ScopeName.Length > 0)
                text.Append(CultureInfo.InvariantCulture, $"  # {step.Node.ScopeName}");
            text.Append('\n');
        }

        return text.ToString();
    }
}
