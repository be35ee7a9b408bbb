using System.Diagnostics;
using Skylight.Cuda;

namespace Skylight.Cli.Kernels;

/// <summary>NVIDIA's <c>nvdisasm</c>: a program of the CUDA toolkit, which needs no card.</summary>
internal sealed class Disassembler
{
    /// <summary>Names its path.</summary>
    public const string Variable = "SKYLIGHT_NVDISASM";

    private const string Name = "nvdisasm";
    private static readonly TimeSpan s_longest = TimeSpan.FromMinutes(2);

    private Disassembler(string path) => Path = path;

    /// <summary>Where it is.</summary>
    public string Path { get; }

    /// <summary>Finds it: the path that is given, or named by the variable; on PATH; in a toolkit's folder.</summary>
    /// <exception cref="FileNotFoundException">It is nowhere; the message says where it was looked for.</exception>
    public static Disassembler Find(string? given = null)
    {
        given ??= Environment.GetEnvironmentVariable(Variable);
        if (!string.IsNullOrEmpty(given))
            return File.Exists(given) ? new Disassembler(given)
                : throw new FileNotFoundException($"There is no disassembler at '{given}'.", given);
        string file = OperatingSystem.IsWindows() ? Name + ".exe" : Name;
        IEnumerable<string> folders = (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(System.IO.Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Concat(new[] { Environment.GetEnvironmentVariable("CUDA_HOME"), Environment.GetEnvironmentVariable("CUDA_PATH") }
                .Where(home => !string.IsNullOrEmpty(home)).Select(home => System.IO.Path.Combine(home!, "bin")))
            .Append("/usr/local/cuda/bin");
        return folders.Select(folder => System.IO.Path.Combine(folder, file)).FirstOrDefault(File.Exists) is { } path
            ? new Disassembler(path)
            : throw new FileNotFoundException(
                $"{Name} is neither on PATH nor in a CUDA toolkit's folder: install the toolkit (Debian: nvidia-cuda-toolkit " +
                $"holds it), or give its path in {Variable} or --disassembler.");
    }

    /// <summary>The functions of a cubin.</summary>
    /// <exception cref="CudaException">It cannot be read.</exception>
    public IReadOnlyList<MachineFunction> Read(ReadOnlySpan<byte> cubin)
    {
        // It reads files only.
        string folder = CacheFolder.Of("kernels"), file = System.IO.Path.Combine(folder, $"{Guid.NewGuid():N}.disassembled");
        Directory.CreateDirectory(folder);
        try
        {
            using (FileStream stream = File.Create(file))
                stream.Write(cubin);
            using Process process = Process.Start(new ProcessStartInfo(Path, ["-c", file])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }) ?? throw new CudaException($"'{Path}' does not start.");
            Task<string> error = process.StandardError.ReadToEndAsync(), text = process.StandardOutput.ReadToEndAsync();
            if (!process.WaitForExit(s_longest))
            {
                process.Kill(entireProcessTree: true);
                throw new CudaException($"'{Path}' had not ended after {s_longest.TotalMinutes} minutes.");
            }

            return process.ExitCode == 0 ? MachineFunction.Read(text.GetAwaiter().GetResult())
                : throw new CudaException($"'{Path}' ends with {process.ExitCode}: {error.GetAwaiter().GetResult().Trim()}");
        }
        finally
        {
            File.Delete(file);
        }
    }
}
