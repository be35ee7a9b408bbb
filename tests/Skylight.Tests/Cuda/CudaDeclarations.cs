using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Skylight.Cuda;
using Skylight.Cuda.Interop;

namespace Skylight.Tests.Cuda;

/// <summary>
/// What the code takes from CUDA's headers and libraries, read from its own sources so that nothing can be left out.
/// </summary>
internal static partial class CudaDeclarations
{
    /// <summary>
    /// Every number of <c>CudaNumbers.cs</c> and of the emulator's <c>cuda_abi.hpp</c>, under its name in CUDA.
    /// </summary>
    public static IEnumerable<(string Name, long Value, string Where)> Numbers()
    {
        foreach (Match match in ManagedNumber().Matches(Source("CudaNumbers.cs")))
            yield return (match.Groups[1].Value, Parse(match.Groups[2].Value), "CudaNumbers.cs");
        foreach (Match match in EmulatorNumber()
            .Matches(File.ReadAllText(Repository.PathOf("native", "simt", "source", "cuda_abi.hpp"))))
            yield return (match.Groups[1].Value, Parse(match.Groups[2].Value), "cuda_abi.hpp");
    }

    /// <summary>Sizes and offsets of the structures, as expressions of C++ on CUDA's own types.</summary>
    public static unsafe IEnumerable<(string Expression, long Value)> Layouts()
    {
        LaunchConfiguration configuration = default;
        LaunchAttribute attribute = default;
        (string Type, long Size, (string Field, long Offset)[] Fields)[] structures =
        [
            ("CUlaunchConfig", sizeof(LaunchConfiguration),
            [
                ("gridDimX", Offset(&configuration, &configuration.GridX)),
                ("gridDimY", Offset(&configuration, &configuration.GridY)),
                ("gridDimZ", Offset(&configuration, &configuration.GridZ)),
                ("blockDimX", Offset(&configuration, &configuration.BlockX)),
                ("blockDimY", Offset(&configuration, &configuration.BlockY)),
                ("blockDimZ", Offset(&configuration, &configuration.BlockZ)),
                ("sharedMemBytes", Offset(&configuration, &configuration.SharedBytes)),
                ("hStream", Offset(&configuration, &configuration.Stream)),
                ("attrs", Offset(&configuration, &configuration.Attributes)),
                ("numAttrs", Offset(&configuration, &configuration.AttributeCount)),
            ]),
            ("CUlaunchAttribute", sizeof(LaunchAttribute),
            [
                ("id", Offset(&attribute, &attribute.Id)), ("value.clusterDim.x", Offset(&attribute, &attribute.X)),
                ("value.clusterDim.y", Offset(&attribute, &attribute.Y)),
                ("value.clusterDim.z", Offset(&attribute, &attribute.Z)),
            ]),
            ("CUtensorMap", KernelTensorMap.EncodedBytes, []),
        ];
        return [.. structures.SelectMany(structure =>
            structure.Fields.Select(field => ($"offsetof({structure.Type}, {field.Field})", field.Offset))
                .Append(($"sizeof({structure.Type})", structure.Size)))];
    }

    /// <summary>The functions of a library that the bindings look up by name.</summary>
    /// <param name="prefix"><c>cu</c>, <c>nvrtc</c> or <c>cublas</c>.</param>
    public static string[] Functions(string prefix) =>
    [
        .. Directory.EnumerateFiles(Repository.PathOf("src", "Skylight.Cuda", "Interop"), "*.cs")
        .SelectMany(file => Function().Matches(File.ReadAllText(file)))
            .Select(match => match.Groups[1].Value).Where(name => name.StartsWith(prefix, StringComparison.Ordinal)
                && (prefix != "cu" || char.IsAsciiLetterUpper(name[2]))).Order(StringComparer.Ordinal),
    ];

    /// <summary>The folder of CUDA's headers; null where there is none.</summary>
    public static string? HeaderFolder() =>
        ((string?[])[Environment.GetEnvironmentVariable("CUDA_HOME"), Environment.GetEnvironmentVariable("CUDA_PATH"),
            "/usr", "/usr/local/cuda"])
        .Where(root => !string.IsNullOrEmpty(root)).Select(root => Path.Combine(root!, "include")).FirstOrDefault(
            folder => File.Exists(Path.Combine(folder, "cuda.h")) && File.Exists(Path.Combine(folder, "cublas_v2.h")));

    /// <summary>
    /// What CUDA's headers say of names and expressions: one line each, as a C++ program prints it that is compiled
    /// with them.
    /// </summary>
    public static string Ask(string headerFolder, IEnumerable<string> expressions, string temporaryFolder)
    {
        string source = Path.Combine(temporaryFolder, "ask.cpp"), program = Path.Combine(temporaryFolder, "ask");
        File.WriteAllText(source, $$"""
            #include <cstddef>
            #include <cstdio>
            #include <cuda.h>
            #include <nvrtc.h>
            #include <cublas_v2.h>
            int main() {
            {{string.Concat(expressions.Select(expression => $"    std::printf(\"%s = %lld\\n\", \"{expression}\", static_cast<long long>({expression}));\n"))}}}
            """);
        Run(Environment.GetEnvironmentVariable("CXX") is { Length: > 0 } compiler ? compiler : "c++", "-std=c++17",
            "-Wno-invalid-offsetof", "-I", headerFolder, source, "-o", program);
        return Run(program);
    }

    /// <summary>Runs a program that must succeed, and gives its output.</summary>
    public static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(
            new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {error.GetAwaiter().GetResult()}");
        return output;
    }

    private static unsafe long Offset(void* structure, void* field) => (byte*)field - (byte*)structure;

    private static string Source(string name) =>
        File.ReadAllText(Repository.PathOf("src", "Skylight.Cuda", "Interop", name));

    private static long Parse(string text) => long.Parse(text, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"<c>(\w+)</c>\.</summary>\s+public const int \w+ = (-?\d+);")]
    private static partial Regex ManagedNumber();

    [GeneratedRegex(@"\b(CU\w*_\w+) = (\d+)[,;]")]
    private static partial Regex EmulatorNumber();

    [GeneratedRegex(@"Function\(""(\w+)""\)")]
    private static partial Regex Function();
}
