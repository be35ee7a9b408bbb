using Iced.Intel;

namespace Skylight.Cpu.Assembly;

/// <summary>Transposes blocks that lie in registers.</summary>
internal static class Transposition
{
    /// <summary>16 rows of 16 elements of 32 bits; four rounds of 16 shuffles.</summary>
    /// <param name="code">Where the instructions go.</param>
    /// <param name="rows">16 registers; lost.</param>
    /// <param name="free">16 more.</param>
    /// <returns>The columns, in 16 of the 32 registers.</returns>
    public static AssemblerRegisterZMM[] OfDoublewords(Assembler code, AssemblerRegisterZMM[] rows,
        AssemblerRegisterZMM[] free)
    {
        // Rows r and r + 1: [r: c, c + 1 of every four | …].
        for (int row = 0; row < 16; row += 2)
        {
            code.vpunpckldq(free[row], rows[row], rows[row + 1]);
            code.vpunpckhdq(free[row + 1], rows[row], rows[row + 1]);
        }

        // Now four rows side by side: register 4g + j has column j of each four columns, for rows 4g … 4g + 3.
        for (int group = 0; group < 16; group += 4)
        {
            code.vpunpcklqdq(rows[group], free[group], free[group + 2]);
            code.vpunpckhqdq(rows[group + 1], free[group], free[group + 2]);
            code.vpunpcklqdq(rows[group + 2], free[group + 1], free[group + 3]);
            code.vpunpckhqdq(rows[group + 3], free[group + 1], free[group + 3]);
        }

        // Lane l of register 4g + j is column 4l + j of rows 4g …: gather lane l of the four groups.
        for (int column = 0; column < 4; column++)
        {
            code.vshufi32x4(free[column], rows[column], rows[4 + column], 0x88);
            code.vshufi32x4(free[4 + column], rows[column], rows[4 + column], 0xDD);
            code.vshufi32x4(free[8 + column], rows[8 + column], rows[12 + column], 0x88);
            code.vshufi32x4(free[12 + column], rows[8 + column], rows[12 + column], 0xDD);
        }

        var columns = new AssemblerRegisterZMM[16];
        for (int column = 0; column < 4; column++)
        {
            code.vshufi32x4(rows[column], free[column], free[8 + column], 0x88);
            code.vshufi32x4(rows[8 + column], free[column], free[8 + column], 0xDD);
            code.vshufi32x4(rows[4 + column], free[4 + column], free[12 + column], 0x88);
            code.vshufi32x4(rows[12 + column], free[4 + column], free[12 + column], 0xDD);
        }

        for (int column = 0; column < 16; column++)
            columns[column] = rows[column];
        return columns;
    }
}
