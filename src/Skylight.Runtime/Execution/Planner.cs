using System.Globalization;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Execution;

/// <summary>
/// Turns a graph into a plan: drops what nothing needs, finds how long each value lives, and packs all of them, with the
/// kernels' temporary memory, into one arena.
/// </summary>
public static class Planner
{
    /// <summary>Plans a graph for a device. Nothing is allocated.</summary>
    /// <exception cref="OutOfDeviceMemoryException">The plan's peak is more than the device has; the error has the
    /// numbers.</exception>
    /// <exception cref="NotSupportedException">The device has no kernel for an op.</exception>
    public static Plan Plan(Graph graph, Device device)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(device);
        List<Node> nodes = Needed(graph);
        Kernel[] kernels = [.. nodes.Select(device.CreateKernel)];
        var stepOf = new Dictionary<Node, int>();
        for (int step = 0; step < nodes.Count; step++)
            stepOf.Add(nodes[step], step);

        Dictionary<Value, int> lastUse = LastUses(graph, nodes);
        var arena = new Arena();
        var slots = new Dictionary<Value, ArenaSlot>();
        // Those that are uploaded together come first, one after the other.
        bool IsGrouped(Value input) => input.Type.Storage == Storage.RowMajor
            && input.Type.Bytes <= device.GroupedInputBytes;
        long grouped = 0;
        foreach (Value input in graph.Inputs.OrderBy(input => IsGrouped(input) ? 0 : 1))
        {
            long bytes = Align(device.StorageBytes(input.Type), device);
            if (IsGrouped(input))
                grouped += bytes;
            slots.Add(input, new ArenaSlot(arena.Take(bytes), bytes, -1, lastUse.GetValueOrDefault(input, -1)));
        }

        // An input that nothing reads still has a place, which is never given back: the caller may write it.
        var dying = new List<Value>[nodes.Count];
        foreach ((Value value, int step) in lastUse)
        {
            if (step < nodes.Count && value.Kind != ValueKind.Persistent)
                (dying[step] ??= []).Add(value);
        }

        var steps = new PlanStep[nodes.Count];
        for (int step = 0; step < nodes.Count; step++)
        {
            Node node = nodes[step];
            var takenOver = new HashSet<Value>();
            for (int index = 0; index < node.Outputs.Count; index++)
            {
                Value output = node.Outputs[index];
                long bytes = Align(Math.Max(device.StorageBytes(output.Type), 1), device);
                int last = lastUse.GetValueOrDefault(output, step);
                Value? host = InPlaceHost(node, index, step, bytes, slots, lastUse, takenOver);
                long offset;
                if (host is not null)
                {
                    takenOver.Add(host);
                    offset = slots[host].Offset;
                }
                else
                {
                    offset = arena.Take(bytes);
                }

                slots.Add(output, new ArenaSlot(offset, bytes, step, last));
            }

            long scratch = -1;
            if (kernels[step].ScratchBytes > 0)
            {
                long bytes = Align(kernels[step].ScratchBytes, device);
                scratch = arena.Take(bytes);
                arena.Return(scratch, bytes);
            }

            steps[step] = new PlanStep(node, kernels[step], scratch);
            foreach (Value value in dying[step] ?? [])
            {
                if (!takenOver.Contains(value))
                    arena.Return(slots[value].Offset, slots[value].Bytes);
            }

            foreach (Value output in node.Outputs)
            {
                if (!lastUse.ContainsKey(output))
                    arena.Return(slots[output].Offset, slots[output].Bytes);
            }
        }

        long persistentBytes = graph.PersistentValues.Sum(value => device.StorageBytes(value.Type));
        var plan = new Plan(graph, device, steps, slots, arena.Peak,
            persistentBytes)
        { GroupedInputBytes = checked((int)grouped) };
        if (plan.PeakBytes > device.MemoryBytes)
        {
            throw new OutOfDeviceMemoryException(string.Create(
                CultureInfo.InvariantCulture,
                $"{plan.DescribePeak()}, but {device.Name} has {Execution.Plan.Gigabytes(device.MemoryBytes)}. Fewer " +
                $"tokens per step, recomputation of layers, or fewer trained modules would help."));
        }

        return plan;
    }

    private static long Align(long bytes, Device device) =>
        (bytes + device.Alignment - 1) / device.Alignment * device.Alignment;

    /// <summary>The nodes on which an output or a change of persistent memory depends.</summary>
    private static List<Node> Needed(Graph graph)
    {
        var needed = new HashSet<Value>(graph.Outputs.Select(output => output.Value));
        var nodes = new List<Node>();
        for (int index = graph.Nodes.Count - 1; index >= 0; index--)
        {
            Node node = graph.Nodes[index];
            if (node.Op.MutatedInputs.Count == 0 && !node.Outputs.Any(needed.Contains))
                continue;
            nodes.Add(node);
            needed.UnionWith(node.Inputs);
        }

        nodes.Reverse();
        return nodes;
    }

    private static Dictionary<Value, int> LastUses(Graph graph, List<Node> nodes)
    {
        var last = new Dictionary<Value, int>();
        for (int step = 0; step < nodes.Count; step++)
        {
            foreach (Value input in nodes[step].Inputs)
                last[input] = step;
        }

        foreach ((_, Value value) in graph.Outputs)
            last[value] = nodes.Count;
        return last;
    }

    /// <summary>
    /// The input whose memory the output may take over: it dies here, is as large and has elements of the same size.
    /// </summary>
    private static Value? InPlaceHost(Node node, int output, int step, long bytes, Dictionary<Value, ArenaSlot> slots,
        Dictionary<Value, int> lastUse, HashSet<Value> takenOver)
    {
        int input = node.Op.InPlaceInput(output);
        if (input < 0)
            return null;
        Value host = node.Inputs[input];
        bool free = host.Kind == ValueKind.Computed && lastUse[host] == step && slots[host].Bytes == bytes
            && host.Type.DataType.Size() == node.Outputs[output].Type.DataType.Size() && !takenOver.Contains(host);
        return free && node.Inputs.Count(value => value == host) == 1 ? host : null;
    }

    /// <summary>A growing block of memory: the smallest free hole that fits, else the end.</summary>
    private sealed class Arena
    {
        private readonly List<(long Offset, long Bytes)> _holes = [];
        private long _end;

        public long Peak { get; private set; }

        public long Take(long bytes)
        {
            int best = -1;
            for (int index = 0; index < _holes.Count; index++)
            {
                if (_holes[index].Bytes >= bytes && (best < 0 || _holes[index].Bytes < _holes[best].Bytes))
                    best = index;
            }

            if (best >= 0)
            {
                (long offset, long size) = _holes[best];
                if (size == bytes)
                    _holes.RemoveAt(best);
                else
                    _holes[best] = (offset + bytes, size - bytes);
                return offset;
            }

            // The last hole may touch the end: grow it instead of leaving it unused.
            long start = _end;
            if (_holes.Count > 0 && _holes[^1].Offset + _holes[^1].Bytes == _end)
            {
                start = _holes[^1].Offset;
                _holes.RemoveAt(_holes.Count - 1);
            }

            _end = start + bytes;
            Peak = Math.Max(Peak, _end);
            return start;
        }

        public void Return(long offset, long bytes)
        {
            if (bytes == 0)
                return;
            int index = _holes.FindIndex(hole => hole.Offset > offset);
            index = index < 0 ? _holes.Count : index;
            _holes.Insert(index, (offset, bytes));
            if (index + 1 < _holes.Count && offset + bytes == _holes[index + 1].Offset)
            {
                _holes[index] = (offset, bytes + _holes[index + 1].Bytes);
                _holes.RemoveAt(index + 1);
            }

            if (index > 0 && _holes[index - 1].Offset + _holes[index - 1].Bytes == offset)
            {
                _holes[index - 1] = (_holes[index - 1].Offset, _holes[index - 1].Bytes + _holes[index].Bytes);
                _holes.RemoveAt(index);
            }
        }
    }
}
