using System.Numerics;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Workloads;

/// <summary>Workloads for devices whose activations have another data type than the CPU's.</summary>
public static class WorkloadActivations
{
    /// <summary>
    /// The same workload with as many floating-point operands as the op accepts in another data type: activations,
    /// weights and caches, but not what the op wants to stay float32. Attributes stay, but for those that name the
    /// activations' type.
    /// </summary>
    /// <param name="workload">The workload.</param>
    /// <param name="type">float32 or bfloat16.</param>
    /// <returns>
    /// A workload whose operands are filled with numbers that bfloat16 holds exactly, where they are or were bfloat16:
    /// to give another device and the CPU the same numbers, run <c>ForActivations(BFloat16)</c> on the device and, of
    /// that, <c>ForActivations(Float32)</c>
    /// on the CPU.
    /// </returns>
    /// <exception cref="ArgumentException">The type is no floating-point type.</exception>
    public static Workload ForActivations(this Workload workload, DataType type)
    {
        ArgumentNullException.ThrowIfNull(workload);
        if (!type.IsFloatingPoint())
            throw new ArgumentException(
                $"Activations cannot be {type}: choose {DataType.Float32} or {DataType.BFloat16}.", nameof(type));
        Op op = workload.OpFor?.Invoke(type) ?? workload.Op;
        int[] candidates = [.. Enumerable.Range(0, workload.Inputs.Count)
            .Where(index => IsCandidate(workload.Inputs[index], type))];
        var operands = workload.Inputs.ToArray();
        foreach (int index in LargestAccepted(op, operands, candidates, type))
            operands[index] = Convert(operands[index], type);
        return workload with { Op = op, Inputs = operands };
    }

    private static bool IsCandidate(Operand operand, DataType type) =>
        operand.Type.DataType.IsFloatingPoint() && operand.Type.DataType != type && !operand.KeepsType;

    /// <summary>
    /// The largest set of operands that may change their type together: some ops want two operands to be of one type,
    /// so that neither may change alone. Of sets of one size, the one with the earlier operands.
    /// </summary>
    private static int[] LargestAccepted(Op op, Operand[] operands, int[] candidates, DataType type)
    {
        // No op has so many operands that this would take long; one that took them by the hundred would be tried all or
        // none.
        IEnumerable<int> sets = candidates.Length <= 12
            ? Enumerable.Range(0, 1 << candidates.Length).OrderByDescending(set => BitOperations.PopCount((uint)set))
            .ThenBy(set => set)
            : [];
        foreach (int set in sets)
        {
            int[] chosen = [.. candidates.Where((_, bit) => (set >> bit & 1) != 0)];
            if (IsAccepted(op, operands, chosen, type))
                return chosen;
        }

        return candidates.Length > 12 && IsAccepted(op, operands, candidates, type) ? candidates : [];
    }

    private static bool IsAccepted(Op op, Operand[] operands, int[] chosen, DataType type)
    {
        try
        {
            op.Infer([.. operands.Select((operand, index) => chosen.Contains(index)
                ? operand.Type with { DataType = type } : operand.Type)]);
            return true;
        }
        catch (GraphException)
        {
            return false;
        }
    }

    private static Operand Convert(Operand operand, DataType type)
    {
        Func<int, Array> fill = operand.Fill;
        return operand with { Type = operand.Type with { DataType = type }, Fill = seed => Rounded((float[])fill(seed)) };
    }

    private static float[] Rounded(float[] values) => Array.ConvertAll(values, value => (float)(BFloat16)value);
}
