using System.Collections.Frozen;
using System.Reflection;

namespace Skylight.Cuda;

/// <summary>
/// CUDA C++ source text. What it includes is found among the headers of the project's <c>kernels/</c> folder, which
/// travel inside this assembly:
/// <c>#include "common/types.cuh"</c>. Nothing of a CUDA toolkit is there.
/// </summary>
/// <param name="Name">The file name in errors.</param>
/// <param name="Text">The source.</param>
public sealed record KernelSource(string Name, string Text)
{
    private const string Prefix = "kernels/";
    private static readonly FrozenDictionary<string, string> Files = ReadFiles();

    /// <summary>The names of Skylight's own kernel files, in order: <c>norm.cu</c>.</summary>
    public static IReadOnlyList<string> ResourceNames { get; } =
        [.. Files.Keys.Where(name => name.EndsWith(".cu", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];

    /// <summary>
    /// The headers that every source may include, by the name it includes them with; in order of the names.
    /// </summary>
    public static IReadOnlyList<KernelSource> Headers { get; } =
        [.. Files.Where(file => file.Key.EndsWith(".cuh", StringComparison.Ordinal))
            .OrderBy(file => file.Key, StringComparer.Ordinal).Select(file => new KernelSource(file.Key, file.Value))];

    /// <summary>One of Skylight's own kernel files.</summary>
    /// <param name="name">The path within <c>kernels/</c>.</param>
    /// <exception cref="ArgumentException">There is no such file; the error lists those that are there.</exception>
    public static KernelSource Resource(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return Files.TryGetValue(name, out string? text) && name.EndsWith(".cu", StringComparison.Ordinal)
            ? new KernelSource(name, text)
            : throw new ArgumentException(
                $"There is no kernel file '{name}'. There are: {string.Join(", ", ResourceNames)}.", nameof(name));
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    private static FrozenDictionary<string, string> ReadFiles()
    {
        Assembly assembly = typeof(KernelSource).Assembly;
        var files = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string resource in assembly.GetManifestResourceNames()
            .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal)))
        {
            using var reader = new StreamReader(assembly.GetManifestResourceStream(resource)!);
            files.Add(resource[Prefix.Length..], reader.ReadToEnd());
        }

        return files.ToFrozenDictionary(StringComparer.Ordinal);
    }
}
