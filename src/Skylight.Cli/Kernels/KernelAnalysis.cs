using Skylight.Cuda;

namespace Skylight.Cli.Kernels;

/// <summary>
/// What the machine code of a kernel's main loop asks of a multiprocessor: for one pass of one warp, in cycles. A ceiling of
/// what the kernel can reach, and no time: memory beyond shared memory, latencies and the other loops are not in it.
/// </summary>
/// <param name="Kernel">The source file, its constants and the entry point.</param>
/// <param name="Architecture">For example <c>sm_90a</c>.</param>
/// <param name="Registers">Registers of a thread.</param>
/// <param name="LocalAccesses">Loads and stores of a thread's own memory, in the whole kernel.</param>
/// <param name="Products">Which instruction multiplies matrices: <c>HGMMA</c>, <c>HMMA</c>, or none.</param>
/// <param name="LoopInstructions">Instructions of the loop; 0 where nothing is repeated and the figures are of the whole kernel.</param>
/// <param name="Tensor">Of the tensor cores.</param>
/// <param name="Shared">Of shared memory.</param>
/// <param name="Issue">Of the slots in which instructions start.</param>
/// <param name="Float">Of the float32 lanes.</param>
/// <param name="Special">Of the lanes for special functions.</param>
/// <param name="Integer">Of the lanes for integers.</param>
/// <param name="Mix">How many instructions of each name.</param>
internal sealed record KernelAnalysis(string Kernel, string Architecture, int Registers, int LocalAccesses, string Products,
    int LoopInstructions, double Tensor, double Shared, double Issue, double Float, double Special, double Integer,
    SortedDictionary<string, int> Mix)
{
    /// <summary>What is busy longest.</summary>
    public string Bound => Costs.MaxBy(cost => cost.Cycles).Name;

    /// <summary>The share of that time in which the tensor cores are busy, in percent.</summary>
    public int TensorSharePercent => (int)Math.Round(100 * Tensor / Math.Max(Costs.Max(cost => cost.Cycles), 1e-9));

    private (string Name, double Cycles)[] Costs => [("tensor", Tensor), ("shared", Shared), ("issue", Issue),
        ("float", Float), ("special", Special), ("integer", Integer)];

    /// <summary>Analyzes one entry point.</summary>
    /// <exception cref="CudaException">The machine code does not have it.</exception>
    public static KernelAnalysis Of(KernelFigures figures, string entryPoint, IReadOnlyList<MachineFunction> code)
    {
        MachineFunction function = code.FirstOrDefault(one => one.EntryPoint == entryPoint)
            ?? throw new CudaException($"{figures.Kernel}: the disassembler shows no {entryPoint}.");
        bool multiplies = function.Instructions.Any(instruction => InstructionCost.Tensor(instruction) > 0);
        MachineLoop? loop = function.MainLoop(multiplies ? InstructionCost.Tensor : _ => 1);
        MachineInstruction[] body = [.. loop is { } found ? function.Body(found) : function.Instructions];
        var mix = new SortedDictionary<string, int>(StringComparer.Ordinal);
        foreach (MachineInstruction instruction in body)
            mix[instruction.Name] = mix.GetValueOrDefault(instruction.Name) + 1;
        return new KernelAnalysis(figures.Kernel, figures.Architecture, figures.Registers,
            function.Instructions.Count(one => InstructionCost.KindOf(one) == InstructionKind.Local),
            string.Join('+', function.Instructions.Where(one => InstructionCost.Tensor(one) > 0).Select(one => one.Name)
                .Distinct().Order(StringComparer.Ordinal)),
            loop is null ? 0 : body.Length, Sum(InstructionCost.Tensor), Sum(InstructionCost.Shared),
            Math.Round(body.Length / InstructionCost.IssuedPerCycle, 2), Sum(InstructionCost.Float),
            Sum(InstructionCost.Special), Sum(InstructionCost.Integer), mix);

        double Sum(Func<MachineInstruction, double> cost) => Math.Round(body.Sum(cost), 2);
    }

    /// <summary>What is worse than in the table, or not in it; empty when the table holds.</summary>
    public static IReadOnlyList<string> Compare(IReadOnlyList<KernelAnalysis> measured, IReadOnlyList<KernelAnalysis> table)
    {
        Dictionary<(string, string), KernelAnalysis> before = table.ToDictionary(row => (row.Kernel, row.Architecture));
        var faults = new List<string>();
        foreach (KernelAnalysis now in measured)
        {
            string name = $"{now.Kernel} ({now.Architecture})";
            if (now.LocalAccesses > 0)
                faults.Add($"{name}: {now.LocalAccesses} loads or stores of a thread's own memory");
            if (!before.TryGetValue((now.Kernel, now.Architecture), out KernelAnalysis? then))
            {
                faults.Add($"{name} is not in the table");
                continue;
            }

            if (now.Products != then.Products)
                faults.Add($"{name}: matrices are multiplied by '{now.Products}', the table says '{then.Products}'");
            if (now.Registers > then.Registers)
                faults.Add($"{name}: {now.Registers} registers, the table allows {then.Registers}");
            if (now.TensorSharePercent < then.TensorSharePercent)
                faults.Add($"{name}: the tensor cores' share is {now.TensorSharePercent} %, the table asks for " +
                    $"{then.TensorSharePercent} % ({now.Bound}-bound); loop: {then.DifferenceTo(now)}");
        }

        return faults;
    }

    /// <summary>What has changed since the table was made, better or worse: kernels that are new, other or gone.</summary>
    public static IEnumerable<string> Differences(IReadOnlyList<KernelAnalysis> measured, IReadOnlyList<KernelAnalysis> table)
    {
        Dictionary<(string, string), KernelAnalysis> before = table.ToDictionary(row => (row.Kernel, row.Architecture));
        foreach (KernelAnalysis now in measured)
        {
            if (!before.Remove((now.Kernel, now.Architecture), out KernelAnalysis? then))
            {
                yield return $"{now.Kernel} ({now.Architecture}) is new: {now.Registers} registers" +
                    (now.Products.Length > 0 ? $", {now.Products}, tensor share {now.TensorSharePercent} % ({now.Bound}-bound)" : "");
            }
            else if (then.DifferenceTo(now) is { Length: > 0 } difference)
            {
                yield return $"{now.Kernel} ({now.Architecture}), tensor share {then.TensorSharePercent} → " +
                    $"{now.TensorSharePercent} %: {difference}";
            }
        }

        foreach (KernelAnalysis then in before.Values)
            yield return $"{then.Kernel} ({then.Architecture}) is gone";
    }

    /// <summary>
    /// How registers and the loop's instructions differ, as <c>registers 96 → 104, LDSM 12 → 14, IMAD 3 → 0</c>; empty where
    /// they do not.
    /// </summary>
    public string DifferenceTo(KernelAnalysis now) => string.Join(", ", Mix.Keys.Union(now.Mix.Keys)
        .Order(StringComparer.Ordinal)
        .Select(name => (name, Then: Mix.GetValueOrDefault(name), Now: now.Mix.GetValueOrDefault(name)))
        .Prepend((name: "registers", Then: Registers, Now: now.Registers))
        .Where(count => count.Then != count.Now).Select(count => $"{count.name} {count.Then} → {count.Now}"));
}
