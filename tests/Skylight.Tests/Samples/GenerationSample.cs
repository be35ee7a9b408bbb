#region README: generate
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Generation;
using Skylight.Models;

public static class GenerationSample
{
    public static Completion[] Complete(string checkpointDirectory, int[] promptTokens, ImageTile[] pictures)
    {
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(checkpointDirectory, device);
        using var engine = new GenerationEngine(model, cacheTokens: 4096);

        // The prompt is run once for all four completions.
        var prompt = new TokenSequence(promptTokens, pictures);
        var options = new SamplingOptions
        {
            Temperature = 0.7f,
            TopP = 0.95f,
            MaxOutputTokens = 64,
            StopTokens = model.Configuration.StopTokenIds,
            Seed = 1,
        };
        return engine.Generate([new GenerationRequest(prompt, Count: 4)], options)[0];
    }
}
#endregion
