using System.Runtime.InteropServices;
using System.Text;

namespace Skylight.Cuda.Interop;

/// <summary>A loaded native library: where it was found, and its functions by name.</summary>
internal sealed class NativeLibraryFile
{
    private readonly nint _handle;

    private NativeLibraryFile(nint handle, string path)
    {
        _handle = handle;
        Path = path;
    }

    /// <summary>The name or path that it was loaded by.</summary>
    public string Path { get; }

    /// <summary>
    /// Loads the first of several candidates that is there. A library stays loaded until the process ends, as CUDA's
    /// own threads need.
    /// </summary>
    /// <param name="what">What is looked for, for the error.</param>
    /// <param name="candidates">Names or paths, the best first.</param>
    /// <param name="hint">What the reader of the error can do.</param>
    /// <exception cref="CudaException">None can be loaded; the error lists all, with what the loader said.</exception>
    public static NativeLibraryFile Load(string what, IEnumerable<string> candidates, string hint)
    {
        var tried = new StringBuilder();
        foreach (string candidate in candidates.Distinct(StringComparer.Ordinal))
        {
            try
            {
                return new NativeLibraryFile(NativeLibrary.Load(candidate), candidate);
            }
            catch (Exception exception) when (exception is DllNotFoundException or BadImageFormatException)
            {
                tried.Append("\n  ").Append(candidate).Append(": ").Append(Reason(exception.Message, candidate));
            }
        }

        throw new CudaException($"{what} was not found. {hint} Tried:{tried}");
    }

    /// <summary>The address of a function.</summary>
    /// <exception cref="CudaException">The library does not have it: it is too old, or not what its name says.</exception>
    public nint Function(string name) => NativeLibrary.TryGetExport(_handle, name, out nint address)
        ? address
        : throw new CudaException(
            $"{Path} has no function {name}: the library is too old (CUDA 12 is needed), or is not what its name says.");

    /// <summary>The address of a function, or zero where the library does not have it.</summary>
    public nint OptionalFunction(string name) => NativeLibrary.TryGetExport(_handle, name, out nint address) ? address : 0;

    /// <summary>What the loader said of this file, without the advice that .NET wraps around it.</summary>
    private static string Reason(string message, string candidate)
    {
        string[] lines = message.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        string? line = lines.FirstOrDefault(line => line.StartsWith(candidate + ":", StringComparison.Ordinal));
        return line is not null ? line[(candidate.Length + 1)..].Trim() : lines.FirstOrDefault() ?? "cannot be loaded";
    }
}
