using Skylight.Execution;
using Skylight.Models;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>The memory that training needs on a device, from the plan of one micro-batch; nothing is reserved.</summary>
/// <param name="WeightBytes">The parameters.</param>
/// <param name="StateBytes">Gradients, moments and masters of what is trained.</param>
/// <param name="ActivationBytes">What lives between forward and backward pass, and temporaries.</param>
public sealed record TrainingEstimate(long WeightBytes, long StateBytes, long ActivationBytes)
{
    /// <summary>The most at any moment.</summary>
    public long PeakBytes => WeightBytes + StateBytes + ActivationBytes;

    /// <summary>Plans supervised tuning of some modules.</summary>
    /// <param name="model">The model; its parameters need no memory, and the estimate may be more than its device has.</param>
    /// <param name="modules">What is trained.</param>
    /// <param name="tokens">Tokens of a micro-batch, places of pictures included.</param>
    /// <param name="tiles">Tiles of its pictures.</param>
    /// <param name="completionTokens">How many of the tokens are scored.</param>
    /// <param name="recompute">Whether layers are recomputed in the backward pass.</param>
    /// <exception cref="ArgumentException">The tiles or the scored tokens do not fit the tokens, or nothing is trained.</exception>
    public static TrainingEstimate Of(VisionLanguageModel model, TrainableModules modules, int tokens, int tiles, int completionTokens, bool recompute)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 2);
        ArgumentOutOfRangeException.ThrowIfNegative(tiles);
        ArgumentOutOfRangeException.ThrowIfLessThan(completionTokens, 1);
        if (modules == TrainableModules.None)
            throw new ArgumentException("Nothing to train: choose at least one module.", nameof(modules));
        if ((long)tiles * model.Configuration.TokensPerTile + completionTokens >= tokens)
            throw new ArgumentException($"{tiles} tiles of {model.Configuration.TokensPerTile} tokens and a completion of {completionTokens} leave no room for a prompt in {tokens} tokens.", nameof(tokens));
        TrainedParameter[] trained = [.. model.Parameters.All.Where(parameter => modules.Includes(parameter)).Select(parameter => new TrainedParameter(parameter))];
        using var workspace = new Workspace(model.Device);
        (int height, int width) = tiles > 0 ? (model.Configuration.Vision.ImageHeight, model.Configuration.Vision.ImageWidth) : (0, 0);
        var key = new TrainingPass.Key(new PackedShape(Padded(tokens), 1, tiles, height, width), Padded(completionTokens), new CrossEntropyObjective(), Backward: true);
        var pass = new TrainingPass(model, key, trained, workspace, recompute, mayExceedMemory: true);
        return new TrainingEstimate(
            model.Parameters.All.Sum(parameter => model.Device.StorageBytes(parameter.Type)),
            trained.SelectMany(parameter => parameter.Tensors).Sum(tensor => model.Device.StorageBytes(tensor.Type)),
            pass.Plan.ArenaBytes);
    }

    private static int Padded(int count) => (count + TrainingPass.TokenMultiple - 1) / TrainingPass.TokenMultiple * TrainingPass.TokenMultiple;
}
