using System.Globalization;

namespace Skylight.Cuda;

/// <summary>
/// The extents of a grid, a block or a cluster. An <see langword="int"/> converts to a one-dimensional one.
/// </summary>
/// <param name="X">The fastest running extent; in a grid up to 2³¹ − 1.</param>
/// <param name="Y">In a grid up to 65535.</param>
/// <param name="Z">In a grid up to 65535.</param>
public readonly record struct Dim3(int X, int Y = 1, int Z = 1)
{
    /// <summary>The product of the extents.</summary>
    public long Count => (long)X * Y * Z;

    /// <summary>A one-dimensional extent.</summary>
    public static implicit operator Dim3(int x) => new(x);

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"({X}, {Y}, {Z})");
}
