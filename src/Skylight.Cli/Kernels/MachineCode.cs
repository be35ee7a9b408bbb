using System.Globalization;
using System.Text.RegularExpressions;

namespace Skylight.Cli.Kernels;

/// <summary>One instruction of a card.</summary>
/// <param name="Opcode">With its modifiers: <c>HMMA.16816.F32.BF16</c>.</param>
/// <param name="Operands">The rest of the line.</param>
/// <param name="Target">Where a branch goes to, as an index of the function's instructions; −1 where it is none.</param>
/// <param name="IsConditional">Whether a predicate stands before it.</param>
internal readonly record struct MachineInstruction(string Opcode, string Operands, int Target, bool IsConditional)
{
    /// <summary>The opcode without modifiers.</summary>
    public string Name => Opcode.Split('.', 2)[0];
}

/// <summary>A piece of a function that is repeated: instructions first to last, the last being the branch back.</summary>
internal readonly record struct MachineLoop(int First, int Last)
{
    public bool Contains(MachineLoop other) => First <= other.First && other.Last <= Last && this != other;
}

/// <summary>A kernel's machine code, as <c>nvdisasm -c</c> prints it.</summary>
/// <param name="EntryPoint">The kernel.</param>
/// <param name="Instructions">In order of their addresses.</param>
internal sealed partial record MachineFunction(string EntryPoint, IReadOnlyList<MachineInstruction> Instructions)
{
    /// <summary>
    /// All loops: from the target of each branch that goes back to that branch, where nobody comes to the branch but by the
    /// target. Pieces that lie at the end because they are rarely run (a wait's second try) go back too, and repeat nothing.
    /// </summary>
    public IReadOnlyList<MachineLoop> Loops { get; } = [.. Instructions
        .Select((instruction, index) => new MachineLoop(instruction.Target, index))
        .Where(loop => loop.First >= 0 && loop.First < loop.Last && !IsReached(Instructions, loop.Last, loop.First)).Distinct()];

    /// <summary>The instructions of a loop.</summary>
    public IEnumerable<MachineInstruction> Body(MachineLoop loop) =>
        Instructions.Skip(loop.First).Take(loop.Last - loop.First + 1);

    /// <summary>
    /// The loop in which most of the work is done: of those in which no smaller loop does half of it, the one that does most.
    /// Null where nothing is repeated.
    /// </summary>
    /// <param name="work">What an instruction counts for.</param>
    public MachineLoop? MainLoop(Func<MachineInstruction, double> work)
    {
        (MachineLoop Loop, double Work)[] loops = [.. Loops.Select(loop => (loop, Body(loop).Sum(work)))
            .Where(loop => loop.Item2 > 0)];
        (MachineLoop Loop, double Work)[] inner = [.. loops.Where(loop => !loops.Any(other =>
            loop.Loop.Contains(other.Loop) && other.Work >= loop.Work / 2))];
        return inner.Length == 0 ? null : inner.MaxBy(loop => loop.Work).Loop;
    }

    /// <summary>Whether an instruction is reached from the beginning without another one.</summary>
    private static bool IsReached(IReadOnlyList<MachineInstruction> instructions, int index, int without)
    {
        bool[] seen = new bool[instructions.Count];
        seen[without] = true;
        var next = new Stack<int>([0]);
        while (next.TryPop(out int current))
        {
            if (current >= seen.Length || seen[current])
                continue;
            if (current == index)
                return true;
            seen[current] = true;
            MachineInstruction instruction = instructions[current];
            if (instruction.Target >= 0)
                next.Push(instruction.Target);
            // A condition may be an operand too; a branch that is taken always has only its target.
            bool always = !instruction.IsConditional && (instruction.Name == "EXIT" || instruction.Name == "RET"
                || (instruction.Name == "BRA" && instruction.Operands.StartsWith('`')));
            if (!always)
                next.Push(current + 1);
        }

        return false;
    }

    /// <summary>Reads what the disassembler prints.</summary>
    public static IReadOnlyList<MachineFunction> Read(string text)
    {
        var functions = new List<MachineFunction>();
        string? name = null;
        var lines = new List<(string Opcode, string Operands, bool IsConditional)>();
        var labels = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (string line in text.Split('\n'))
        {
            if (SectionLine().Match(line) is { Success: true } section)
            {
                Add();
                name = section.Groups[1].Value;
            }
            else if (LabelLine().Match(line) is { Success: true } label)
            {
                labels[label.Groups[1].Value] = lines.Count;
            }
            else if (InstructionLine().Match(line) is { Success: true } instruction)
            {
                lines.Add((instruction.Groups[2].Value, instruction.Groups[3].Value.Trim(), instruction.Groups[1].Success));
            }
        }

        Add();
        return functions;

        void Add()
        {
            if (name is not null)
                functions.Add(new MachineFunction(name,
                    [.. lines.Select(line => new MachineInstruction(line.Opcode, line.Operands, TargetOf(line.Operands),
                        line.IsConditional))]));
            lines.Clear();
            labels.Clear();
        }

        int TargetOf(string operands) => TargetOperand().Match(operands) is { Success: true } target
            && labels.TryGetValue(target.Groups[1].Value, out int index) ? index : -1;
    }

    [GeneratedRegex(@"^\s*\.section\s+\.text\.([^,\s]+)")]
    private static partial Regex SectionLine();

    [GeneratedRegex(@"^(\.L_[^:]+):")]
    private static partial Regex LabelLine();

    [GeneratedRegex(@"^\s+/\*[0-9a-f]+\*/\s+(@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.x]*)([^;]*);")]
    private static partial Regex InstructionLine();

    [GeneratedRegex(@"`\((\.L_[^)]+)\)")]
    private static partial Regex TargetOperand();
}
