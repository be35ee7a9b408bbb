using Skylight.Execution;
using Skylight.Hub;
using Skylight.Images;
using Skylight.Training.Rewards;

namespace Skylight.Training.Runs;

/// <summary>What a run is started with, beside its recipe.</summary>
/// <param name="Device">Where the model lives; closed with the run.</param>
public sealed record TrainingRunOptions(Device Device)
{
    /// <summary>Whether a run that is in the folder goes on.</summary>
    public bool Resume { get; init; }

    /// <summary>What rewards are made with.</summary>
    public RewardContext Rewards { get; init; } = new();

    /// <summary>Makes a reward of a user's own from an assembly; null where none can be loaded.</summary>
    public Func<RewardSettings, IReward>? LoadReward { get; init; }

    /// <summary>What decodes the pictures of the data.</summary>
    public ImageDecoders ImageDecoders { get; init; } = ImageDecoders.Standard;

    /// <summary>Is told how it goes.</summary>
    public IRunObserver? Observer { get; init; }

    /// <summary>
    /// From where a model that is named by its repository comes, and where it is kept; as the environment says if null.
    /// </summary>
    public HubOptions? Hub { get; init; }
}
