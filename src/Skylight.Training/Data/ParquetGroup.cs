namespace Skylight.Training.Data;

/// <summary>A row group in memory. One thread at a time.</summary>
internal sealed class ParquetGroup(IReadOnlyList<ParquetNode> columns, ParquetLeaf[] leaves)
{
    /// <summary>Puts a row together.</summary>
    /// <exception cref="InvalidDataException">What the columns say does not fit.</exception>
    public StructValue Row(int row)
    {
        foreach (ParquetLeaf leaf in leaves)
            leaf.Seek(row);
        return new StructValue([.. columns.Select(column => KeyValuePair.Create(column.Name, Field(column)))]);
    }

    private DataValue? Field(ParquetNode node)
    {
        if (FirstReadable(node) is not { } first)
            return new UnreadableValue(leaves[FirstLeaf(node)].Fault!);
        return node.IsRepeated ? Items(node, node, first) : One(node, first);
    }

    private DataValue? One(ParquetNode node, ParquetLeaf first)
    {
        if (node.Leaf >= 0)
            return first.Take();
        if (first.DefinitionLevel < node.Definition)
        {
            TakeNothing(node);
            return null;
        }

        if (!node.IsList)
            return new StructValue([.. node.Children.Select(child => KeyValuePair.Create(child.Name, Field(child)))]);
        ParquetNode repeated = node.Children[0];
        // list → repeated group → element, as everybody writes it today; before, the repeated node was itself the element.
        bool isWrapped = repeated.Children.Count == 1 && repeated.Name is not "array"
            && repeated.Name != node.Name + "_tuple";
        return Items(repeated, isWrapped ? repeated.Children[0] : repeated, first);
    }

    private ListValue Items(ParquetNode repeated, ParquetNode element, ParquetLeaf first)
    {
        if (first.DefinitionLevel < repeated.Definition)
        {
            TakeNothing(repeated);
            return new ListValue([]);
        }

        var items = new List<DataValue?>();
        do
            items.Add(element == repeated ? One(element, first) : Field(element));
        while (first.RepetitionLevel == repeated.Repetition);
        return new ListValue(items);
    }

    /// <summary>Passes over the one entry that each leaf has for what is absent.</summary>
    private void TakeNothing(ParquetNode node)
    {
        if (node.Leaf >= 0 && leaves[node.Leaf].Fault is null)
            leaves[node.Leaf].Take();
        foreach (ParquetNode child in node.Children)
            TakeNothing(child);
    }

    private ParquetLeaf? FirstReadable(ParquetNode node)
    {
        if (node.Leaf >= 0)
            return leaves[node.Leaf].Fault is null ? leaves[node.Leaf] : null;
        return node.Children.Select(FirstReadable).FirstOrDefault(leaf => leaf is not null);
    }

    private static int FirstLeaf(ParquetNode node) => node.Leaf >= 0 ? node.Leaf : FirstLeaf(node.Children[0]);
}
