using System.Runtime.InteropServices;
using System.Text;
using Silk.NET.Core.Contexts;
using Silk.NET.Core.Loader;

namespace Skylight.Cuda.Interop;

/// <summary>
/// A native library by the system's loader, the first of several candidates that is there. Silk.NET's own
/// <c>DefaultNativeContext</c> looks at further names and places, and asks <c>DependencyContext</c> and
/// <c>Assembly.Location</c>, which a program published ahead of time does not have.
/// </summary>
internal sealed class NativeLibraryContext : INativeContext
{
    private readonly nint _handle;

    private NativeLibraryContext(nint handle, string path)
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
    public static NativeLibraryContext Load(string what, IEnumerable<string> candidates, string hint)
    {
        var tried = new StringBuilder();
        foreach (string candidate in candidates.Distinct(StringComparer.Ordinal))
        {
            try
            {
                return new NativeLibraryContext(NativeLibrary.Load(candidate), candidate);
            }
            catch (Exception exception) when (exception is DllNotFoundException or BadImageFormatException)
            {
                tried.Append("\n  ").Append(candidate).Append(": ").Append(Reason(exception.Message, candidate));
            }
        }

        throw new CudaException($"{what} was not found. {hint} Tried:{tried}");
    }

    /// <inheritdoc/>
    public nint GetProcAddress(string proc, int? slot = null) =>
        TryGetProcAddress(proc, out nint address) ? address
            : throw new SymbolLoadingException($"{Path} has no function {proc}.");

    /// <inheritdoc/>
    public bool TryGetProcAddress(string proc, out nint addr, int? slot = null) =>
        NativeLibrary.TryGetExport(_handle, proc, out addr);

    /// <summary>Does nothing: the library stays loaded.</summary>
    public void Dispose()
    {
    }

    /// <summary>What the loader said of this file, without the advice that .NET wraps around it.</summary>
    private static string Reason(string message, string candidate)
    {
        string[] lines = message.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        string? line = lines.FirstOrDefault(line => line.StartsWith(candidate + ":", StringComparison.Ordinal));
        return line is not null ? line[(candidate.Length + 1)..].Trim() : lines.FirstOrDefault() ?? "cannot be loaded";
    }
}
