using System.Text;

namespace Skylight.Cuda;

/// <summary>
/// What is compiled as one module: a source, its <c>-D</c> constants and the architecture. Two are equal when all of
/// these are, so launches that agree in them share a module, whatever their entry points.
/// </summary>
public sealed class KernelVariant : IEquatable<KernelVariant>
{
    private readonly string _key;

    /// <summary>Makes a variant.</summary>
    /// <param name="source">The source.</param>
    /// <param name="architectureName">For example <c>sm_90a</c> for machine code, <c>compute_90</c> for PTX.</param>
    /// <param name="defines">Constants; their order does not matter.</param>
    public KernelVariant(KernelSource source, string architectureName, IEnumerable<KeyValuePair<string, string>> defines)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(architectureName);
        ArgumentNullException.ThrowIfNull(defines);
        Source = source;
        ArchitectureName = architectureName;
        Defines = [.. defines.OrderBy(define => define.Key, StringComparer.Ordinal)];
        var key = new StringBuilder(source.Name).Append('\n').Append(architectureName);
        foreach ((string name, string value) in Defines)
            key.Append('\n').Append(name).Append('=').Append(value);
        _key = key.ToString();
    }

    /// <summary>The source.</summary>
    public KernelSource Source { get; }

    /// <summary>What is compiled for.</summary>
    public string ArchitectureName { get; }

    /// <summary>
    /// Whether the compiler makes PTX, which the driver translates to the card's machine code; otherwise it makes the
    /// machine code itself.
    /// </summary>
    public bool IsPtx => CompiledForm.IsPtx(ArchitectureName);

    /// <summary>The constants, ordered by name.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Defines { get; }

    /// <summary>The options that NVRTC is given.</summary>
    public IReadOnlyList<string> Options =>
    [
        $"--gpu-architecture={ArchitectureName}",
        "--std=c++17",
        "--generate-line-info",
        .. (IsPtx ? (string[])[] : ["--ptxas-options=-v"]),
        .. Defines.Select(define => $"-D{define.Key}={define.Value}"),
    ];

    /// <inheritdoc/>
    public bool Equals(KernelVariant? other) => other is not null && _key == other._key && Source.Text == other.Source.Text;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as KernelVariant);

    /// <inheritdoc/>
    public override int GetHashCode() => _key.GetHashCode(StringComparison.Ordinal);

    /// <inheritdoc/>
    public override string ToString() =>
        $"{Source.Name} [{string.Join(" ", Defines.Select(define => $"{define.Key}={define.Value}").Prepend(ArchitectureName))}]";
}
