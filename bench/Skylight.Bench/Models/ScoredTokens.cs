using System.Numerics.Tensors;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>Log-probabilities of given tokens.</summary>
internal static class ScoredTokens
{
    /// <summary>Of each token after the first, given those before it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">A text.</param>
    /// <param name="cache">The type of the key-value cache through which they go; null for none, as in training.</param>
    public static float[] LogProbabilities(VisionLanguageModel model, int[] tokens, DataType? cache)
    {
        using var workspace = new Workspace(model.Device);
        float[] logits = cache is { } type ? Cached(model, tokens, type, workspace) : Packed(model, tokens, workspace);
        int vocabulary = model.Configuration.Language.VocabularySize;
        var probabilities = new float[tokens.Length - 1];
        Parallel.For(0, probabilities.Length, index =>
        {
            ReadOnlySpan<float> row = logits.AsSpan(index * vocabulary, vocabulary);
            float greatest = TensorPrimitives.Max(row);
            double sum = 0;
            foreach (float logit in row)
                sum += Math.Exp((double)logit - greatest);
            probabilities[index] = (float)(row[tokens[index + 1]] - greatest - Math.Log(sum));
        });
        return probabilities;
    }

    private static float[] Packed(VisionLanguageModel model, int[] tokens, Workspace workspace)
    {
        PackedBatch batch = PackedBatch.Pack([new TokenSequence(tokens, [])], model.Configuration);
        var graph = new Graph();
        PackedForward forward = model.Forward(graph, batch.Shape);
        Value output = model.Language.Logits(graph, forward.Hidden);
        graph.Output("logits", output);
        model.Fuse(graph);
        model.FuseForward(graph);
        var executor = new Executor(Planner.Plan(graph, model.Device), workspace);
        forward.Write(executor, batch);
        executor.Run(CancellationToken.None);
        return executor.ReadFloats(output);
    }

    private static float[] Cached(VisionLanguageModel model, int[] tokens, DataType type, Workspace workspace)
    {
        LanguageConfiguration language = model.Configuration.Language;
        int pages = KeyValueCache.PagesFor(tokens.Length);
        using var cache = new KeyValueCache(model, pages, type);
        var graph = new Graph();
        Value input = graph.Input("tokens", TensorType.Int32(tokens.Length)),
            positions = graph.Input("positions", TensorType.Int32(tokens.Length)),
            table = graph.Input("page_table", TensorType.Int32(1, pages)),
            starts = graph.Input("starts", TensorType.Int32(2)), lengths = graph.Input("lengths", TensorType.Int32(1));
        var write = new KeyValueWrite(language.KeyValueHeadCount, language.HeadDimension);
        var attend = new PagedAttention(language.HeadCount, language.KeyValueHeadCount, language.HeadDimension);
        Value plan = graph.Add(new PagedAttentionPlan(tokens.Length, language.HeadCount / language.KeyValueHeadCount,
            language.KeyValueHeadCount), table, starts, lengths);
        Value hidden = model.Language.Forward(graph, model.Language.Embed(graph, input), positions, (layer, query, key, value) =>
        {
            Value keys = graph.Persistent(cache.Keys[layer]), values = graph.Persistent(cache.Values[layer]);
            // Pages in order: slots are positions.
            graph.AddNode(write, key, value, keys, values, positions);
            return graph.Add(attend, query, keys, values, table, starts, lengths, plan);
        });
        Value output = model.Language.Logits(graph, hidden);
        graph.Output("logits", output);
        model.Fuse(graph);
        model.FuseForward(graph);
        var executor = new Executor(Planner.Plan(graph, model.Device), workspace);
        executor.Write<int>(input, tokens);
        executor.Write<int>(positions, [.. Enumerable.Range(0, tokens.Length)]);
        executor.Write<int>(table, [.. Enumerable.Range(0, pages)]);
        executor.Write<int>(starts, [0, tokens.Length]);
        executor.Write<int>(lengths, [tokens.Length]);
        executor.Run(CancellationToken.None);
        return executor.ReadFloats(output);
    }
}
