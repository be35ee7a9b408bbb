using Skylight.Cli;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;

namespace Skylight.Tests.Generation;

/// <summary>
/// What is said beforehand of memory covers every pass that an engine can make within the same limits, but for guesses.
/// </summary>
public sealed class GenerationEstimateTests
{
    private const int Context = 2048, Most = 12;

    [Theory]
    [InlineData("sm_80", "vit300m-style/hf", 256)]
    [InlineData("sm_90a", "vit300m-style/hf", 256)]
    // Several prompts are read together.
    [InlineData("sm_90a", "qwen3-style/hf", 8192)]
    public void No_pass_takes_more_than_was_estimated(string architecture, string checkpoint, int prefill)
    {
        ModelConfiguration configuration = ModelConfiguration.Load(Golden.PathOf(checkpoint));
        using var model = new VisionLanguageModel(configuration, new AbsentCard(architecture));
        int context = Math.Min(Context, configuration.Language.MaxPositions);
        GenerationEstimate estimate = GenerationEstimate.Of(model, context, Most, 0, prefill);
        long most = Math.Max(estimate.PrefillBytes, estimate.DecodeBytes);
        int pages = KeyValueCache.PagesFor(context);
        using var cache = new KeyValueCache(model, pages * Most, reserve: false);
        using var workspace = new Workspace(model.Device);
        for (int sequences = 1; sequences <= Most; sequences++)
        {
            for (int reading = 0; reading <= sequences; reading++)
            {
                // A token of each that writes, and of those that read one each or as many as are run together.
                int read = Math.Min(prefill, reading * context);
                foreach (int tokens in new[] { sequences, sequences - reading + read })
                {
                    long pass = new GenerationStep(model, cache, workspace,
                        StepBatch.ShapeOf(tokens, sequences, sequences, pages, false, 0)).Plan.ArenaBytes;
                    Assert.True(pass <= most, $"{tokens} tokens of {sequences} sequences, {reading} of which read: {pass} " +
                        $"bytes, estimated were {most}.");
                }
            }
        }
    }
}
