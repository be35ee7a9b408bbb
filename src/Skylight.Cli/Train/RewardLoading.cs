using System.Diagnostics.CodeAnalysis;
using Skylight.Training.Rewards;
using Skylight.Training.Runs;

namespace Skylight.Cli.Train;

/// <summary>
/// Loads a user's own rewards. The one thing of the command that a build ahead of time cannot do, and says so.
/// </summary>
internal static class RewardLoading
{
    [UnconditionalSuppressMessage("Trimming", "IL2026",
        Justification = "Refused where code cannot be loaded: RewardAssembly asks RuntimeFeature.IsDynamicCodeSupported.")]
    [UnconditionalSuppressMessage("AOT", "IL3050", Justification = "As above.")]
    public static IReward Load(RewardSettings settings) =>
        RewardAssembly.Load(settings.Assembly!, settings.Name, settings.Options);
}
