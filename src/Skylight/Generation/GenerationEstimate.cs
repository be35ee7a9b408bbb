using Skylight.Execution;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>The memory that inference needs on a device, from plans; nothing is reserved.</summary>
/// <param name="WeightBytes">The parameters.</param>
/// <param name="CacheBytes">Keys and values of all sequences at full length.</param>
/// <param name="PrefillBytes">Activations and temporaries while pictures are encoded, or while a part of a prompt is run
/// beside the next tokens of all other sequences, whichever is more.</param>
/// <param name="DecodeBytes">The same while each sequence gets one token.</param>
public sealed record GenerationEstimate(long WeightBytes, long CacheBytes, long PrefillBytes, long DecodeBytes)
{
    /// <summary>The most at any moment.</summary>
    public long PeakBytes => WeightBytes + CacheBytes + Math.Max(PrefillBytes, DecodeBytes);

    /// <summary>
    /// What one pass of an engine takes beside weights and cache: parts of prompts and the next tokens of completions
    /// side by side, or the pictures that are encoded before it, whichever is more.
    /// </summary>
    /// <param name="model">The model; its parameters need no memory.</param>
    /// <param name="tokens">New tokens of all sequences together.</param>
    /// <param name="sequences">The sequences that they are of.</param>
    /// <param name="draws">Tokens that are drawn: one for each completion that is written or begins.</param>
    /// <param name="context">Tokens of the longest sequence.</param>
    /// <param name="tiles">Tiles of all prompts together; 0 where a pass reads no pictures.</param>
    /// <exception cref="OutOfDeviceMemoryException">The plan is more than the device has.</exception>
    public static long PassBytes(VisionLanguageModel model, int tokens, int sequences, int draws, int context, int tiles)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(tiles);
        int pages = KeyValueCache.PagesFor(context);
        using var cache = new KeyValueCache(model, pages, reserve: false);
        using var workspace = new Workspace(model.Device);
        long pass = new GenerationStep(model, cache, workspace,
            StepBatch.ShapeOf(tokens, sequences, draws, pages, tiles > 0, 0)).Plan.ArenaBytes;
        return Math.Max(pass, EncodingBytes(model, workspace, tiles));
    }

    /// <summary>Plans inference.</summary>
    /// <param name="model">The model; its parameters need no memory. To plan for more than its device has, give it one
    /// that says it has enough.</param>
    /// <param name="context">Tokens of a sequence, prompt and completion.</param>
    /// <param name="batch">Sequences at once.</param>
    /// <param name="tiles">Tiles of the prompt's pictures.</param>
    /// <param name="prefillTokens">Prompt tokens that are run together at most.</param>
    /// <param name="keyValueType">The data type of the key-value cache; what the device has for the model if null.</param>
    /// <exception cref="NotSupportedException">The device keeps no such caches, or the model's heads do not fit.</exception>
    /// <exception cref="ArgumentException">The context is longer than the model's positions or too short for the
    /// tiles.</exception>
    /// <exception cref="OutOfDeviceMemoryException">A plan is more than the device has.</exception>
    public static GenerationEstimate Of(VisionLanguageModel model, int context, int batch = 1, int tiles = 0,
        int prefillTokens = GenerationEngine.DefaultPrefillTokens, DataType? keyValueType = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(batch, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(tiles);
        LanguageConfiguration language = model.Configuration.Language;
        if (context > language.MaxPositions)
            throw new ArgumentException(
                $"A context of {context} tokens exceeds the model's {language.DescribePositions()}.", nameof(context));
        if ((long)tiles * model.Configuration.TokensPerTile >= context)
            throw new ArgumentException(
                $"{tiles} tiles of {model.Configuration.TokensPerTile} tokens leave no room for text in a context of " +
                $"{context} tokens.", nameof(tiles));
        int pages = KeyValueCache.PagesFor(context);
        using var cache = new KeyValueCache(model, checked(pages * batch), reserve: false, keyValueType);
        using var workspace = new Workspace(model.Device);
        var prefill = new GenerationStep(model, cache, workspace, StepBatch.ShapeOf(
            checked((int)Math.Min(prefillTokens, (long)context * batch) + batch - 1), batch, batch, pages, tiles > 0, 0));
        var decode = new GenerationStep(model, cache, workspace, StepBatch.ShapeOf(batch, batch, batch, pages, false, 0));
        return new GenerationEstimate(
            model.Parameters.All.Sum(parameter => model.Device.StorageBytes(parameter.Type)),
            cache.Keys.Concat(cache.Values).Sum(tensor => model.Device.StorageBytes(tensor.Type)),
            Math.Max(prefill.Plan.ArenaBytes, EncodingBytes(model, workspace, tiles)),
            decode.Plan.ArenaBytes);
    }

    private static long EncodingBytes(VisionLanguageModel model, Workspace workspace, int tiles)
    {
        if (tiles == 0)
            return 0;
        VisionConfiguration vision = model.Configuration.Vision;
        int together = Math.Min(tiles,
            GenerationEngine.ImagesPerEncoding(model.Configuration, vision.ImageHeight, vision.ImageWidth));
        return new ImageEncodingStep(model, workspace,
            new ImageEncodingShape(together, vision.ImageHeight, vision.ImageWidth)).Plan.ArenaBytes;
    }
}
