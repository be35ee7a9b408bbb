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
    /// <param name="model">The model; its parameters need no memory. To plan for more than its device has, give it one
    /// that says it has enough.</param>
    /// <param name="modules">What is trained.</param>
    /// <param name="tokens">Tokens of a micro-batch, places of pictures included.</param>
    /// <param name="tiles">Tiles of its pictures.</param>
    /// <param name="completionTokens">How many of the tokens are scored.</param>
    /// <param name="recompute">Whether layers are recomputed in the backward pass.</param>
    /// <exception cref="ArgumentException">The tiles or the scored tokens do not fit the tokens, or nothing is
    /// trained.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The plan is more than the device has.</exception>
    public static TrainingEstimate Of(VisionLanguageModel model, TrainableModules modules, int tokens, int tiles,
        int completionTokens, bool recompute)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 2);
        ArgumentOutOfRangeException.ThrowIfNegative(tiles);
        ArgumentOutOfRangeException.ThrowIfLessThan(completionTokens, 1);
        if (modules == TrainableModules.None)
            throw new ArgumentException("Nothing to train: choose at least one module.", nameof(modules));
        if ((long)tiles * model.Configuration.TokensPerTile + completionTokens >= tokens)
            throw new ArgumentException(
                $"{tiles} tiles of {model.Configuration.TokensPerTile} tokens and a completion of {completionTokens} " +
                $"leave no room for a prompt in {tokens} tokens.", nameof(tokens));
        return Of(model, modules, new MicroBatchShape(tokens, 1, tiles, completionTokens), new CrossEntropyObjective(),
            recompute);
    }

    /// <summary>The same for a micro-batch of several samples and for any objective.</summary>
    internal static TrainingEstimate Of(VisionLanguageModel model, TrainableModules modules, MicroBatchShape shape,
        Objective objective, bool recompute)
    {
        TrainedParameter[] trained = [.. model.Parameters.All.Where(parameter => modules.Includes(parameter))
            .Select(parameter => new TrainedParameter(parameter))];
        return new TrainingEstimate(
            model.Parameters.All.Sum(parameter => model.Device.StorageBytes(parameter.Type)),
            trained.SelectMany(parameter => parameter.Tensors).Sum(tensor => model.Device.StorageBytes(tensor.Type)),
            PassBytes(model, trained, shape, objective, backward: true, recompute));
    }

    /// <summary>
    /// What scoring a micro-batch takes beside the weights: the reference of a KL term, the loss on held-out data.
    /// </summary>
    internal static long ScoringBytes(VisionLanguageModel model, MicroBatchShape shape) =>
        PassBytes(model, [], shape, new CrossEntropyObjective(), backward: false, recompute: false);

    private static long PassBytes(VisionLanguageModel model, TrainedParameter[] trained, MicroBatchShape shape,
        Objective objective, bool backward, bool recompute)
    {
        using var workspace = new Workspace(model.Device);
        (int height, int width) = shape.Tiles > 0
            ? (model.Configuration.Vision.ImageHeight, model.Configuration.Vision.ImageWidth) : (0, 0);
        var key = new TrainingPass.Key(new PackedShape(Padded(shape.Tokens), shape.Samples, shape.Tiles, height, width),
            Padded(shape.Scored), objective, backward);
        return new TrainingPass(model, key, trained, workspace, recompute).Plan.ArenaBytes;
    }

    private static int Padded(int count) =>
        (count + TrainingPass.TokenMultiple - 1) / TrainingPass.TokenMultiple * TrainingPass.TokenMultiple;
}

/// <summary>What the memory of a micro-batch depends on.</summary>
/// <param name="Tokens">Tokens of all samples, places of pictures included.</param>
/// <param name="Samples">The samples.</param>
/// <param name="Tiles">Different tiles of their pictures.</param>
/// <param name="Scored">Tokens that are scored.</param>
internal readonly record struct MicroBatchShape(int Tokens, int Samples, int Tiles, int Scored);
