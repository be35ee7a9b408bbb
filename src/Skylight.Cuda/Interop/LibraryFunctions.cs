using Silk.NET.Core.Contexts;

namespace Skylight.Cuda.Interop;

/// <summary>The functions of a native library by name, and what errors call the library.</summary>
/// <param name="context">The library: ours, or a host's own.</param>
internal sealed class LibraryFunctions(INativeContext context)
{
    /// <summary>The name or path that it was loaded by; of a host's own context the name of its type.</summary>
    public string Path { get; } = context is NativeLibraryContext file ? file.Path : $"The host's {context.GetType().Name}";

    /// <summary>The file that it was loaded from; null where that is not known.</summary>
    public string? File => context is NativeLibraryContext ? Path : null;

    /// <summary>The address of a function.</summary>
    /// <exception cref="CudaException">The library does not have it: it is too old, or not what its name says.</exception>
    public nint Function(string name) => OptionalFunction(name) is var address and not 0
        ? address
        : throw new CudaException(
            $"{Path} has no function {name}: the library is too old (CUDA 12 is needed), or is not what its name says.");

    /// <summary>The address of a function, or zero where the library does not have it.</summary>
    public nint OptionalFunction(string name) => context.TryGetProcAddress(name, out nint address) ? address : 0;
}
