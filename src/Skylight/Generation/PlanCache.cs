namespace Skylight.Generation;

/// <summary>Plans by shape; those used longest ago make room for new ones.</summary>
internal sealed class PlanCache<TShape, TStep>(Func<TShape, TStep> create)
    where TShape : notnull
{
    private const int MostPlans = 128;

    private readonly Dictionary<TShape, LinkedListNode<(TShape Shape, TStep Step)>> _steps = [];
    private readonly LinkedList<(TShape Shape, TStep Step)> _leastRecentFirst = [];

    /// <summary>How many plans were made, those included that made room since.</summary>
    public int Made { get; private set; }

    /// <summary>The plans that are kept.</summary>
    public IEnumerable<TStep> Kept => _leastRecentFirst.Select(entry => entry.Step);

    public TStep Get(TShape shape)
    {
        if (_steps.TryGetValue(shape, out LinkedListNode<(TShape Shape, TStep Step)>? node))
        {
            _leastRecentFirst.Remove(node);
            _leastRecentFirst.AddLast(node);
            return node.Value.Step;
        }

        if (_steps.Count >= MostPlans && _leastRecentFirst.First is { } oldest)
        {
            _steps.Remove(oldest.Value.Shape);
            _leastRecentFirst.Remove(oldest);
        }

        TStep step = create(shape);
        Made++;
        _steps.Add(shape, _leastRecentFirst.AddLast((shape, step)));
        return step;
    }
}
