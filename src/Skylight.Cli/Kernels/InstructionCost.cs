using System.Globalization;
using System.Text.RegularExpressions;

namespace Skylight.Cli.Kernels;

/// <summary>What an instruction keeps busy.</summary>
internal enum InstructionKind
{
    /// <summary>Products of matrices.</summary>
    Tensor,

    /// <summary>Shared memory, and shuffles, which take the same way.</summary>
    Shared,

    /// <summary>Global memory.</summary>
    Global,

    /// <summary>A thread's own memory: spills, or arrays that were not kept in registers.</summary>
    Local,

    /// <summary>float32 arithmetic.</summary>
    Float,

    /// <summary>Exponentials, reciprocals, conversions.</summary>
    Special,

    /// <summary>Integers: addresses for the most part.</summary>
    Integer,

    /// <summary>The scalar unit of a warp.</summary>
    Uniform,

    /// <summary>All else: moves, branches, barriers.</summary>
    Other,
}

/// <summary>
/// What an instruction of one warp takes of a multiprocessor, in cycles: a ceiling by the widths of its units (H100 and H200:
/// in a cycle 4,096 floating-point operations of dense bfloat16, 128 bytes of shared memory, 128 lanes of float32, 64 of
/// integers, 16 of special functions, four instructions).
/// </summary>
internal static partial class InstructionCost
{
    /// <summary>Instructions that a multiprocessor starts in a cycle.</summary>
    public const double IssuedPerCycle = 4;

    private const int WarpsOfGroup = 4, SharedBytesPerCycle = 128, WarpLanes = 32;
    private const double FloatLanes = 128, IntegerLanes = 64, SpecialLanes = 16, TensorOperations = 4096;

    private static readonly Dictionary<string, InstructionKind> s_kinds = Kinds();

    /// <summary>What kind an instruction is of.</summary>
    public static InstructionKind KindOf(MachineInstruction instruction) =>
        s_kinds.TryGetValue(instruction.Name, out InstructionKind kind) ? kind
        : instruction.Name.StartsWith('U') ? InstructionKind.Uniform
        : InstructionKind.Other;

    /// <summary>Cycles of the tensor cores.</summary>
    public static double Tensor(MachineInstruction instruction)
    {
        if (KindOf(instruction) != InstructionKind.Tensor)
            return 0;
        (int rows, int columns, int inner) = Shape(instruction);
        double warps = instruction.Name == "HGMMA" ? WarpsOfGroup : 1;
        return 2.0 * rows * columns * inner / TensorOperations / warps;
    }

    /// <summary>Cycles of shared memory.</summary>
    public static double Shared(MachineInstruction instruction)
    {
        switch (instruction.Name)
        {
            case "LDSM" or "STSM":
                int matrices = instruction.Opcode.EndsWith(".4", StringComparison.Ordinal) ? 4
                    : instruction.Opcode.EndsWith(".2", StringComparison.Ordinal) ? 2 : 1;
                return matrices;
            case "LDS" or "STS" or "LDGSTS":
                return instruction.Opcode.Contains(".128", StringComparison.Ordinal) ? 4
                    : instruction.Opcode.Contains(".64", StringComparison.Ordinal) ? 2 : 1;
            case "SHFL" or "ATOMS":
                return 1;
            case "HGMMA":
                (int rows, int columns, int inner) = Shape(instruction);
                // The left factor comes from registers or, by a second descriptor, from shared memory too.
                int bytes = 2 * inner * (columns + (FirstIsRegister().IsMatch(instruction.Operands) ? 0 : rows));
                return (double)bytes / SharedBytesPerCycle / WarpsOfGroup;
            default:
                return 0;
        }
    }

    /// <summary>Cycles of the float32 lanes.</summary>
    public static double Float(MachineInstruction instruction) => Of(instruction, InstructionKind.Float, FloatLanes);

    /// <summary>Cycles of the lanes for integers.</summary>
    public static double Integer(MachineInstruction instruction) => Of(instruction, InstructionKind.Integer, IntegerLanes);

    /// <summary>Cycles of the lanes for special functions.</summary>
    public static double Special(MachineInstruction instruction) => Of(instruction, InstructionKind.Special, SpecialLanes);

    private static double Of(MachineInstruction instruction, InstructionKind kind, double lanes) =>
        KindOf(instruction) == kind ? WarpLanes / lanes : 0;

    private static (int Rows, int Columns, int Inner) Shape(MachineInstruction instruction)
    {
        if (GroupShape().Match(instruction.Opcode) is { Success: true } group)
            return (Number(group, 1), Number(group, 2), Number(group, 3));
        return instruction.Opcode.Contains(".1688", StringComparison.Ordinal) ? (16, 8, 8) : (16, 8, 16);
        static int Number(Match match, int index) => int.Parse(match.Groups[index].ValueSpan, CultureInfo.InvariantCulture);
    }

    private static Dictionary<string, InstructionKind> Kinds()
    {
        var kinds = new Dictionary<string, InstructionKind>(StringComparer.Ordinal);
        Add(InstructionKind.Tensor, "HMMA HGMMA IMMA IGMMA QGMMA");
        Add(InstructionKind.Shared, "LDS STS LDSM STSM SHFL ATOMS");
        Add(InstructionKind.Global, "LDG STG LDGSTS RED ATOM ATOMG LD ST UBLKCP UTMALDG UTMASTG UTMAREDG UTMAPF CCTL");
        Add(InstructionKind.Local, "LDL STL");
        Add(InstructionKind.Float, "FADD FMUL FFMA FMNMX FSET FSETP FSEL FCHK FSWZADD HADD2 HMUL2 HFMA2 HMNMX2 HSET2 HSETP2");
        Add(InstructionKind.Special, "MUFU F2F F2I I2F F2FP FRND I2FP");
        Add(InstructionKind.Integer,
            "IADD3 IMAD LEA LOP3 SHF ISETP SEL PRMT VIADD VIMNMX IABS IMNMX BMSK SGXT POPC FLO BREV SHL SHR PLOP3 LOP ISCADD IDP");
        return kinds;

        void Add(InstructionKind kind, string names)
        {
            foreach (string name in names.Split(' '))
                kinds.Add(name, kind);
        }
    }

    [GeneratedRegex(@"\.(\d+)x(\d+)x(\d+)")]
    private static partial Regex GroupShape();

    [GeneratedRegex(@"^\s*R\d+,\s*R\d+,\s*gdesc")]
    private static partial Regex FirstIsRegister();
}
