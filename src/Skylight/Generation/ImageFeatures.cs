using System.Numerics.Tensors;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>A picture's features, [features, hidden] as float32, once they are computed.</summary>
internal sealed class ImageFeatures(ImageTile tile, string? key)
{
    public ImageTile Tile { get; } = tile;

    /// <summary>The picture's content; null where nothing is kept beyond the requests that use it.</summary>
    public string? Key { get; } = key;

    public float[]? Rows { get; set; }

    /// <summary>Whether all computed features are numbers.</summary>
    public bool AreFinite => float.IsFinite(TensorPrimitives.MaxMagnitude<float>(Rows));

    public int Users { get; set; }
}

/// <summary>
/// The features of pictures: those that admitted requests use, and, up to a limit of bytes, those used last, found
/// again by content. Requests that hold the same picture share its encoding.
/// </summary>
internal sealed class ImageFeatureStore(long capacityBytes)
{
    private readonly Dictionary<ImageTile, ImageFeatures> _active = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<string, LinkedListNode<ImageFeatures>> _kept = new(StringComparer.Ordinal);
    private readonly LinkedList<ImageFeatures> _leastRecentFirst = [];
    private long _bytes;

    /// <summary>The bytes of the features that are kept for later.</summary>
    public long KeptBytes => _bytes;

    /// <summary>Takes the features of a picture, computed or still to be computed.</summary>
    public ImageFeatures Take(ImageTile tile)
    {
        if (!_active.TryGetValue(tile, out ImageFeatures? features))
        {
            string? key = capacityBytes > 0 ? tile.ContentKey : null;
            features = key is not null && _kept.TryGetValue(key, out LinkedListNode<ImageFeatures>? kept) ? Touch(kept)
                : new ImageFeatures(tile, key);
            _active.Add(tile, features);
        }

        features.Users++;
        return features;
    }

    /// <summary>Lets go of what was taken.</summary>
    public void Return(ImageFeatures features)
    {
        if (--features.Users > 0)
            return;
        foreach (ImageTile alias in _active.Where(pair => pair.Value == features).Select(pair => pair.Key).ToArray())
            _active.Remove(alias);
    }

    /// <summary>Keeps computed features for later requests; those used longest ago make room.</summary>
    public void Keep(ImageFeatures features)
    {
        if (features.Key is null || features.Rows is null || _kept.ContainsKey(features.Key))
            return;
        long bytes = Bytes(features);
        if (bytes > capacityBytes)
            return;
        while (_bytes + bytes > capacityBytes && _leastRecentFirst.First is { } oldest)
            Drop(oldest);
        _kept.Add(features.Key, _leastRecentFirst.AddLast(features));
        _bytes += bytes;
    }

    /// <summary>
    /// Forgets everything: to be called when the vision encoder or the connector have changed. Who has taken features
    /// keeps those.
    /// </summary>
    public void Clear()
    {
        _active.Clear();
        while (_leastRecentFirst.First is { } oldest)
            Drop(oldest);
    }

    private static long Bytes(ImageFeatures features) => (long)features.Rows!.Length * sizeof(float);

    private ImageFeatures Touch(LinkedListNode<ImageFeatures> node)
    {
        _leastRecentFirst.Remove(node);
        _leastRecentFirst.AddLast(node);
        return node.Value;
    }

    private void Drop(LinkedListNode<ImageFeatures> node)
    {
        _leastRecentFirst.Remove(node);
        _kept.Remove(node.Value.Key!);
        _bytes -= Bytes(node.Value);
    }
}

/// <summary>Vision encoder and connector over some pictures of one size.</summary>
internal sealed class ImageEncodingStep
{
    private readonly Value _pixels;
    private readonly Value _features;
    private readonly Executor _executor;

    public ImageEncodingStep(VisionLanguageModel model, Workspace workspace, ImageEncodingShape shape)
    {
        var graph = new Graph();
        _pixels = graph.Input("pixels",
            TensorType.Float32(shape.Images, model.Configuration.Vision.ChannelCount, shape.Height, shape.Width));
        _features = model.EncodeImages(graph, _pixels).Features;
        graph.Output("features", _features);
        model.Fuse(graph);
        model.FuseForward(graph);
        _executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
    }

    /// <summary>What is run.</summary>
    public Plan Plan => _executor.Plan;

    /// <summary>Computes the features of pictures.</summary>
    public void Run(IReadOnlyList<ImageFeatures> pictures, CancellationToken cancellationToken)
    {
        int pixels = pictures[0].Tile.Pixels.Length;
        var packed = new float[_pixels.Shape.ElementCount];
        for (int index = 0; index < pictures.Count; index++)
            pictures[index].Tile.Pixels.CopyTo(packed, (long)index * pixels);
        _executor.Write<float>(_pixels, packed);
        _executor.Run(cancellationToken);
        float[] rows = _executor.ReadFloats(_features);
        int each = rows.Length / _pixels.Shape[0];
        for (int index = 0; index < pictures.Count; index++)
            pictures[index].Rows = rows.AsSpan(index * each, each).ToArray();
    }
}

/// <summary>The extents on which an encoding depends.</summary>
internal readonly record struct ImageEncodingShape(int Images, int Height, int Width);
