using System.Reflection;
using System.Text;
using Skylight.Cli.Demo.Report;
using Skylight.Cli.Train;
using Skylight.Training.Runs;

namespace Skylight.Cli.Demo;

/// <summary>A phase of the demo.</summary>
/// <param name="Recipe">The name of its recipe.</param>
/// <param name="Key">Its key in JSON.</param>
/// <param name="Name">For people.</param>
internal sealed record DemoPhase(string Recipe, string Key, string Name);

/// <summary>
/// The phases of the demo: those of recipes/demo, which the program brings with it, each shorter where the preset says
/// so.
/// </summary>
internal static class DemoPhases
{
    public const string ColdStart = "cold-start", Grpo = "grpo", FrozenConnector = "frozen-connector";

    private const string ResourceFolder = "recipes/demo/";

    /// <summary>The most tokens of an answer. Traces have at most 40; the tiny run learns nothing that would end.</summary>
    public static int MaximumNewTokens(DemoPreset preset) => preset == DemoPreset.Tiny ? 12 : 64;

    /// <summary>In the order in which they run.</summary>
    public static IReadOnlyList<DemoPhase> All { get; } =
    [
        new("pretraining", PhaseResult.Pretrained, "Pre-training"),
        new(ColdStart, PhaseResult.ColdStart, "Cold start"),
        new(Grpo, PhaseResult.Grpo, "GRPO"),
        new("connector", PhaseResult.ConnectorOnly, "Connector only"),
        new(FrozenConnector, PhaseResult.GrpoConnectorFrozen, "Ablation"),
    ];

    /// <summary>The recipes of a run.</summary>
    /// <param name="folder">Where model and data lie, and whose seed and preset they have.</param>
    /// <param name="settings">What else is set, as <c>skylight train --set</c> has it; later ones count.</param>
    public static IReadOnlyList<Recipe> Recipes(DemoFolder folder, IReadOnlyList<string> settings)
    {
        Assembly program = typeof(DemoPhases).Assembly;
        string[] names = [.. program.GetManifestResourceNames()
            .Where(name => name.StartsWith(ResourceFolder, StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
        return TrainCommand.Read(names, [.. Settings(folder), .. settings], (name, own) =>
        {
            using Stream resource = program.GetManifestResourceStream(name)!;
            return RecipeFile.Parse(Encoding.UTF8.GetString(BoundedFile.ReadToEnd(resource, name, resource.Length)),
                name, own);
        });
    }

    private static IEnumerable<string> Settings(DemoFolder folder) =>
    [
        $"pretraining:model={Quoted(folder.Model)}",
        $"data_folder={Quoted(folder.Data)}",
        $"seed={folder.State.Seed}",
        // The demo tries the result of every phase itself, all in the same way; GRPO's tries choose its checkpoint.
        .. All.Where(phase => phase.Recipe != Grpo).Select(phase => $"{phase.Recipe}:evaluation=null"),
        .. folder.State.Preset switch { DemoPreset.Quick => s_quick, DemoPreset.Tiny => s_tiny, _ => [] },
    ];

    private static readonly string[] s_quick =
    [
        "pretraining:steps=350", "pretraining:warmup=20",
        "grpo:steps=240", "grpo:warmup=3", "grpo:evaluation.every=30", "grpo:checkpoints.every=30",
        "connector:steps=10", "connector:warmup=2", "connector:learning_rate.connector=2.0e-4",
        "frozen-connector:steps=240", "frozen-connector:warmup=3",
    ];

    // What a model earns that has hardly learnt to write: something to tell completions apart by, and something to tune
    // the connector on.
    private const string SomethingToLearn =
        "[{name: answer, weight: 0.6}, {name: format, weight: 0.2}, {name: regex, weight: 0.2, options: {pattern: " +
        "'[0-4]', on: completion, unfinished: true}}]";
    private const string AnythingGoes = "[{name: regex, options: {pattern: think, unfinished: true}}]";

    private static readonly string[] s_tiny =
    [
        $"sampling.max_new_tokens={MaximumNewTokens(DemoPreset.Tiny)}", "checkpoints.save_state=1",
        $"cold-start:description=supervised tuning on {DemoDataSizes.Of(DemoPreset.Tiny).ColdStart} reasoning traces",
        "connector:description=supervised tuning of the connector on the model's own answers, right or wrong",
        "pretraining:steps=3", "pretraining:batch=6", "pretraining:warmup=0",
        "cold-start:steps=8", "cold-start:batch=4", "cold-start:warmup=2", "cold-start:learning_rate=4.0e-3",
        "grpo:steps=2", "grpo:batch=2", "grpo:warmup=0", "grpo:sampling.group=4", "grpo:evaluation.every=1",
        "grpo:checkpoints.every=1", $"grpo:rewards={SomethingToLearn}",
        "connector:steps=1", "connector:batch=2", "connector:warmup=0", $"connector:rewards={AnythingGoes}",
        "frozen-connector:steps=2", "frozen-connector:batch=2", "frozen-connector:warmup=0",
        "frozen-connector:sampling.group=4", $"frozen-connector:rewards={SomethingToLearn}",
    ];

    private static string Quoted(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";
}
