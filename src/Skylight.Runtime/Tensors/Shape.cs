using System.Collections.Immutable;

namespace Skylight.Tensors;

/// <summary>The extents of a tensor, outermost first. A scalar has rank 1 and one element: <c>[1]</c>.</summary>
public readonly struct Shape : IEquatable<Shape>
{
    private readonly ImmutableArray<int> _dimensions;

    /// <summary>Makes a shape.</summary>
    /// <param name="dimensions">Extents, outermost first; none may be negative.</param>
    /// <exception cref="ArgumentException">An extent is negative.</exception>
    public Shape(params ReadOnlySpan<int> dimensions)
    {
        foreach (int dimension in dimensions)
        {
            if (dimension < 0)
                throw new ArgumentException(
                    $"A shape cannot have a negative extent: [{string.Join(", ", dimensions.ToArray())}].",
                    nameof(dimensions));
        }

        _dimensions = ImmutableArray.Create(dimensions);
    }

    /// <summary>The extents, outermost first.</summary>
    public ImmutableArray<int> Dimensions => _dimensions.IsDefault ? [] : _dimensions;

    /// <summary>The number of extents.</summary>
    public int Rank => Dimensions.Length;

    /// <summary>The extent of an axis; negative axes count from the innermost.</summary>
    public int this[Index axis] => Dimensions[axis.GetOffset(Rank)];

    /// <summary>The product of all extents.</summary>
    public long ElementCount
    {
        get
        {
            long count = 1;
            foreach (int dimension in Dimensions)
                count = checked(count * dimension);
            return count;
        }
    }

    /// <summary>The innermost extent: the width of one row.</summary>
    public int Columns => Rank == 0 ? 1 : Dimensions[^1];

    /// <summary>The product of all extents but the innermost: how many rows of <see cref="Columns"/> there are.</summary>
    public int Rows
    {
        get
        {
            int rows = 1;
            for (int axis = 0; axis < Rank - 1; axis++)
                rows = checked(rows * Dimensions[axis]);
            return rows;
        }
    }

    /// <summary>The same shape with another innermost extent.</summary>
    public Shape WithColumns(int columns) => new([.. Dimensions[..^1], columns]);

    /// <inheritdoc/>
    public bool Equals(Shape other) => Dimensions.AsSpan().SequenceEqual(other.Dimensions.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (int dimension in Dimensions)
            hash.Add(dimension);
        return hash.ToHashCode();
    }

    /// <summary>Equality of all extents.</summary>
    public static bool operator ==(Shape left, Shape right) => left.Equals(right);

    /// <summary>Inequality of any extent.</summary>
    public static bool operator !=(Shape left, Shape right) => !left.Equals(right);

    /// <inheritdoc/>
    public override string ToString() => $"[{string.Join(", ", Dimensions)}]";
}
