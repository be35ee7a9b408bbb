using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Tensors;

namespace Skylight.Tests.Cpu;

/// <summary>
/// The same results whatever vectors the machine has: this assembly's kernel tests run again in a process whose
/// runtime is told to leave instructions unused, and a checksum that this class leaves there must equal the one from here.
/// </summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class VectorWidthTests
{
    private const string ChecksumFile = "SKYLIGHT_TEST_CHECKSUM_FILE";

    /// <summary>
    /// Whether this is such a process. Without FMA it is software that adds exactly: shapes that are large for the sake of
    /// blocks and tasks, which are the same whatever the width, are left to the outer process.
    /// </summary>
    internal static bool IsNarrowed => Environment.GetEnvironmentVariable(ChecksumFile) is not null;

    [Theory]
    [InlineData("DOTNET_EnableAVX512", 256)]
    [InlineData("DOTNET_EnableAVX2", 128)]
    public async Task Narrower_vectors_give_the_same_bits(string setting, int bits)
    {
        if (Environment.GetEnvironmentVariable(ChecksumFile) is { } file)
        {
            LeaveChecksum(file);
            return;
        }

        Assert.SkipUnless(CpuVectors.Bits > bits, $"this machine has no vectors wider than {bits} bits");
        using var folder = new TemporaryFolder();
        var start = new ProcessStartInfo("dotnet")
        {
            ArgumentList =
            {
                Path.Combine(AppContext.BaseDirectory, "Skylight.Tests.dll"), "-noColor",
                "-class", typeof(GemmTests).FullName!, "-class", typeof(FloatCodeTests).FullName!, "-class",
                typeof(VectorMathTests).FullName!, "-class", typeof(VectorWidthTests).FullName!,
            },
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment[setting] = "0";
        start.Environment[ChecksumFile] = folder["checksum"];
        using Process child = Process.Start(start)!;
        Task<string> errors = child.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = await child.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await child.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(child.ExitCode == 0, output + await errors);
        // Said once, however many devices there are.
        Assert.Equal($"Skylight: {CpuVectors.Describe(bits, CpuVectors.MachineBits, isAheadOfTime: false)}\n",
            (await errors).ReplaceLineEndings("\n"));
        Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"{bits} {Checksum():x8}"),
            await File.ReadAllTextAsync(folder["checksum"], TestContext.Current.CancellationToken));
    }

    /// <summary>
    /// In the child: the checksum for the outer process, from devices that say together once how wide they are.
    /// </summary>
    private static void LeaveChecksum(string file)
    {
        new CpuDevice().Dispose();
        new CpuDevice().Dispose();
        File.WriteAllText(file, string.Create(CultureInfo.InvariantCulture, $"{CpuVectors.Bits} {Checksum():x8}"));
    }

    [Fact]
    public void The_machine_has_the_vectors_that_its_system_lists()
    {
        Assert.True(CpuVectors.MachineBits >= CpuVectors.Bits);
        Assert.SkipUnless(OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64,
            "reads /proc/cpuinfo of x64");
        string[] flags = File.ReadLines("/proc/cpuinfo")
            .First(line => line.StartsWith("flags", StringComparison.Ordinal)).Split(' ');
        Assert.Equal(flags.Contains("avx2") && flags.Contains("fma"), CpuVectors.MachineBits >= 256);
        if (CpuVectors.MachineBits == 512)
            Assert.Contains("avx512f", flags);
    }

    [Theory]
    [InlineData(512, 512, true, null)]
    [InlineData(256, 128, true, null)]
    [InlineData(128, 256, true, "x86-64-v3")]
    [InlineData(256, 512, true, "x86-64-v4")]
    [InlineData(256, 512, false, "DOTNET_Enable")]
    public void A_warning_names_both_widths_and_what_to_do(int bits, int machineBits, bool isAheadOfTime, string? remedy)
    {
        string? warning = CpuVectors.Describe(bits, machineBits, isAheadOfTime);
        Assert.Equal(remedy is null, warning is null);
        if (remedy is null)
            return;
        Assert.Contains($"{bits} bits", warning, StringComparison.Ordinal);
        Assert.Contains($"{machineBits} bits", warning, StringComparison.Ordinal);
        Assert.Contains(remedy, warning, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', warning!);
    }

    private static unsafe uint Checksum()
    {
        const int N = 130, K = 300;
        uint sum = 0;
        foreach (int M in new[] { 1, 2, 3, 7, 29, 128 })
        {
            float[] x = GemmReference.Random(M * K, M),
                panels = GemmReference.ToPanels(GemmReference.Random(N * K, 2), N, K);
            ushort[] bits = GemmReference.ToBits(panels);
            var y = new float[M * N];
            var dx = new float[M * K];
            var dw = new float[panels.Length];
            fixed (float* px = x, pp = panels, py = y, pdx = dx, pdw = dw)
            fixed (ushort* ph = bits)
            {
                Gemm.MultiplyWeight(px, K, ph, DataType.BFloat16, null, py, N, M, N, K);
                Add(ref sum, y);
                Gemm.MultiplyWeight(px, K, pp, DataType.Float32, null, py, N, M, N, K);
                Gemm.MultiplyWeightTransposed(py, N, pp, DataType.Float32, pdx, K, M, N, K, accumulate: false);
                Gemm.WeightGradient(px, K, py, N, pdw, M, N, K, accumulate: false);
            }
            Add(ref sum, y);
            Add(ref sum, dx);
            Add(ref sum, dw);
            Add(ref sum, Array.ConvertAll(x, VectorMath.Exp));
            Add(ref sum, Array.ConvertAll(x, VectorMath.Erf));
        }
        return sum;
    }

    private static void Add(ref uint sum, float[] values)
    {
        foreach (float value in values)
            sum = (sum ^ BitConverter.SingleToUInt32Bits(value)) * 16777619;
    }
}
