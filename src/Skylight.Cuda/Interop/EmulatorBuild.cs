using System.ComponentModel;
using System.Diagnostics;
using System.IO.Hashing;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;

namespace Skylight.Cuda.Interop;

/// <summary>
/// Builds the emulator where no library was built beside the program (the tool, a host that references the package):
/// its sources travel in this assembly as the kernels do, and it needs a C++ compiler to run kernels anyway. The
/// library is kept under the hash of its sources.
/// </summary>
internal static class EmulatorBuild
{
    /// <summary>The library's name.</summary>
    public const string FileName = "libskylight_simt.so";

    private const string Prefix = "simt/";

    /// <summary>Where it is kept; a machine of another kind may share the folder.</summary>
    public static string Folder { get; } = Path.Combine(CacheFolder.Of("simt"),
        $"{RuntimeInformation.ProcessArchitecture}-{HashOfSources()}".ToLowerInvariant());

    /// <summary>The library, once it was built.</summary>
    public static string LibraryPath => Path.Combine(Folder, FileName);

    /// <summary>Builds it.</summary>
    /// <returns>The library's path.</returns>
    /// <exception cref="CudaException">It cannot be built; the error holds what the compiler said.</exception>
    public static string Run()
    {
        // Beside, then renamed: processes that start at the same time each build one, and the last rename wins.
        string beside = $"{Folder}.{Guid.NewGuid():N}";
        try
        {
            foreach (string name in Sources())
                Extract(name, Path.Combine(beside, name[Prefix.Length..]));
            string library = Path.Combine(beside, FileName);
            (int code, string said) = Compile(Path.Combine(beside, "build.sh"), library);
            if (code != 0)
                throw new CudaException(
                    $"The CUDA emulator cannot be built (code {code}): {said.Trim()}\nIt needs a C++ compiler (c++, " +
                    $"g++, clang++ or $CXX) with its standard library.");
            Directory.CreateDirectory(Folder);
            File.Move(library, LibraryPath, overwrite: true);
            return LibraryPath;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or Win32Exception)
        {
            throw new CudaException(
                $"The CUDA emulator cannot be built in {Folder}: {exception.Message} Another folder can be given in " +
                $"SKYLIGHT_CACHE.", exception);
        }
        finally
        {
            if (Directory.Exists(beside))
                Directory.Delete(beside, recursive: true);
        }
    }

    private static (int Code, string Said) Compile(string script, string library)
    {
        using Process process = Process.Start(new ProcessStartInfo("sh",
            [script, library])
        { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        string said = process.StandardError.ReadToEnd() + output.GetAwaiter().GetResult();
        process.WaitForExit();
        return (process.ExitCode, said);
    }

    private static void Extract(string name, string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        using Stream source = Open(name);
        using FileStream file = File.Create(path);
        source.CopyTo(file);
    }

    private static string HashOfSources()
    {
        var hash = new XxHash128();
        foreach (string name in Sources())
        {
            using Stream source = Open(name);
            hash.Append(Encoding.UTF8.GetBytes($"{name} {source.Length}\n"));
            hash.Append(source);
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    private static IEnumerable<string> Sources() => typeof(EmulatorBuild).Assembly.GetManifestResourceNames()
        .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal);

    private static Stream Open(string name)
    {
        Assembly assembly = typeof(EmulatorBuild).Assembly;
        return assembly.GetManifestResourceStream(name)!;
    }
}
