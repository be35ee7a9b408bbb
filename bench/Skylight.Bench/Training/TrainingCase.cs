using System.Globalization;

namespace Skylight.Bench.Training;

/// <summary>A recipe that is measured.</summary>
/// <param name="Name">What is measured, in words.</param>
/// <param name="Recipe">The recipe, but for model, data and steps.</param>
internal sealed record TrainingCase(string Name, string Recipe)
{
    private const string OnlyConnector = "learning_rate: {connector: 1e-5}\n", Everything = "learning_rate: 1e-5\n",
        Recompute = "optimizer: {recompute: true}\n";

    /// <summary>
    /// What is measured of a model: of large ones nothing whose optimizer state would not fit an ordinary machine.
    /// </summary>
    public static IEnumerable<TrainingCase> Of(string like)
    {
        bool isSmall = like is "tiny" or "demo";
        string supervised = Of("sft", isSmall ? 8 : 2), policy = Of("grpo", isSmall ? 8 : 1) + string.Create(
            CultureInfo.InvariantCulture,
            $"sampling: {{group: {(isSmall ? 8 : 4)}, max_new_tokens: {(isSmall ? 32 : 16)}, cache_tokens: {(isSmall ? 8192 : 2048)}}}\nrewards: [{{name: noise, assembly: benchmark}}]\n");
        if (isSmall)
        {
            yield return new TrainingCase("sft, all modules", supervised + Everything);
            yield return new TrainingCase("sft, all modules, layers recomputed", supervised + Everything + Recompute);
        }

        yield return new TrainingCase("sft, connector", supervised + OnlyConnector);
        yield return new TrainingCase("sft, connector, layers recomputed", supervised + OnlyConnector + Recompute);
        if (isSmall)
            yield return new TrainingCase("grpo, all modules", policy + Everything);
        else
            yield return new TrainingCase("sft, language, layers recomputed",
                supervised + "learning_rate: {language: 1e-5}\n" + Recompute);
        yield return new TrainingCase("grpo, connector", policy + OnlyConnector);
        if (isSmall)
            yield return new TrainingCase("grpo, all modules, divergence from a reference",
                policy + Everything + "grpo: {kl: k3, beta: 0.01}\n");
    }

    /// <summary>Supervised steps of the connector.</summary>
    public static TrainingCase Connector(int batch) => new(
        string.Create(CultureInfo.InvariantCulture, $"sft, connector, {batch} samples a step"), Of("sft", batch) + OnlyConnector);

    private static string Of(string method, int batch) =>
        string.Create(CultureInfo.InvariantCulture,
            $"method: {method}\nbatch: {batch}\ndata: data.jsonl\nprompt: {{max_tiles: 1}}\ncheckpoints: {{save_state: 1000000}}\n");
}
