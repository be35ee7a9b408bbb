using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Cli.Verify;

/// <summary>What a verification found.</summary>
/// <param name="Reference">What the device's results were compared with, in words.</param>
/// <param name="Rows">The groups.</param>
internal sealed record VerificationReport(string Reference, IReadOnlyList<ComparisonRow> Rows)
{
    /// <summary>Whether nothing was beyond its limit.</summary>
    public bool Holds => Rows.All(row => row.Failures.Count == 0);
}

/// <summary>
/// Compares what a device computes with a reference dump, made in float32. A device that computes in bfloat16 cannot
/// hold to that as closely as errors would have to be found: its weights are other weights. Its reference is the CPU,
/// in float32, with the same rounded weights.
/// </summary>
internal sealed class ModelVerification
{
    private const double ActivationLimit = 1e-5;
    private const double GradientLimit = 1e-4;

    // What a form promises: its values are made of codes and scales in another order of float32 operations.
    private const double FormLimit = 1e-3;

    // bfloat16 has 8 bits: every op rounds by up to 2⁻⁹, and roundings add up over the layers. Nats are compared as
    // they are: what the ratios of the policy objective, and so training, depend on is their difference.
    private const double RoundedActivationLimit = 2e-2;
    private const double RoundedGradientLimit = 5e-2;
    private const double RoundedNats = 0.06;

    // With the limit of gradients: an error of 5e-5 of the largest gradient's norm is never too much.
    private const double RoundedGradientFloor = 1e-3;

    private readonly GoldenDump _dump;
    private readonly ComparisonTable _table;
    private readonly Dictionary<string, float[]>? _reference;
    private readonly double _activationLimit;

    private ModelVerification(GoldenDump dump, ComparisonTable table, Dictionary<string, float[]>? reference,
        double activationLimit = ActivationLimit)
    {
        _activationLimit = activationLimit;
        _dump = dump;
        _table = table;
        _reference = reference;
    }

    /// <summary>Loads a checkpoint and compares it with a dump.</summary>
    /// <param name="checkpoint">The checkpoint's folder or repository.</param>
    /// <param name="goldenFile">The dump.</param>
    /// <param name="device">Where the model is to run.</param>
    /// <param name="progress">Told what is computed now.</param>
    /// <param name="useFusion">Whether graphs use fused ops.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    public static VerificationReport Run(string checkpoint, string goldenFile, Device device,
        Action<string>? progress = null, bool useFusion = true, CancellationToken cancellationToken = default)
    {
        using GoldenDump dump = GoldenDump.Open(goldenFile);
        checkpoint = ModelFolder.FindAsync(checkpoint, ModelParts.Checkpoint, cancellationToken).GetAwaiter().GetResult();
        int imageTokenId = dump.ImageTokenId(ModelConfiguration.Load(checkpoint), dump.Sequences());
        bool rounded = device.ActivationType == DataType.BFloat16;
        using VisionLanguageModel model = ModelCheckpoint.Load(checkpoint, device, imageTokenId: imageTokenId,
            cancellationToken: cancellationToken);
        model.UseFusion = useFusion;

        Dictionary<string, float[]>? reference = null;
        if (rounded)
        {
            reference = [];
            using var cpu = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
            using VisionLanguageModel cpuModel = ModelCheckpoint.Load(checkpoint, cpu, DataType.BFloat16, imageTokenId,
                cancellationToken: cancellationToken);
            cpuModel.UseFusion = useFusion;
            new ModelRun(cpuModel, dump, roundsWeights: true, result => reference.Add(result.Name, result.Values))
                .Compute(generates: false, progress is null ? null : part => progress($"reference on the CPU: {part}"),
                    cancellationToken);
        }

        var verification = new ModelVerification(dump, new ComparisonTable(rounded ? RoundedGradientFloor : 0), reference);
        new ModelRun(model, dump, rounded, verification.Compare).Compute(generates: true, progress, cancellationToken);
        return verification.Report();
    }

    /// <summary>Loads a quantised checkpoint and compares its logits with those of a form in a dump.</summary>
    /// <param name="checkpoint">The checkpoint's folder or repository, or a file that holds the language model.</param>
    /// <param name="goldenFile">The dump.</param>
    /// <param name="form">The form, such as <c>awq</c> or <c>gguf.Q4_K_M</c>.</param>
    /// <param name="baseCheckpoint">Whose vision encoder and connector belong to a file that has none; else null.</param>
    /// <param name="device">Where the model is to run.</param>
    /// <param name="useFusion">Whether graphs use fused ops.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    public static VerificationReport RunForm(string checkpoint, string goldenFile, string form, string? baseCheckpoint,
        Device device, bool useFusion = true, CancellationToken cancellationToken = default)
    {
        using GoldenDump dump = GoldenDump.Open(goldenFile);
        IReadOnlyList<GoldenSequence> sequences = dump.SequencesOf(form);
        bool rounded = device.ActivationType == DataType.BFloat16;
        Dictionary<string, float[]>? reference = null;
        if (rounded)
        {
            using var cpu = new CpuDevice();
            reference = Logits(cpu, DataType.BFloat16);
        }

        var verification = new ModelVerification(dump, new ComparisonTable(), reference, FormLimit);
        foreach ((string name, float[] logits) in Logits(device, rounded ? null : DataType.Float32))
            verification.Compare(new ModelResult(ResultKind.Activation, "logits", name, logits)
            {
                DumpName = $"{form}.{name}.logits",
            });
        return verification.Report();

        Dictionary<string, float[]> Logits(Device where, DataType? type)
        {
            using VisionLanguageModel model = FormCheckpoint.Load(checkpoint, baseCheckpoint, where, type,
                configuration => dump.ImageTokenId(configuration, sequences), cancellationToken);
            model.UseFusion = useFusion;
            using var workspace = new Workspace(where);
            return sequences.ToDictionary(sequence => sequence.Name, sequence => ModelRun.Activations(model, workspace,
                sequence.Sequence, output => output == "logits", cancellationToken)[0].Values);
        }
    }

    private VerificationReport Report() => new(
        _reference is not null
            ? "the CPU in float32 with the same weights rounded to bfloat16, and, where a group says so, the dump, which " +
                "is float32 throughout"
            : "the dump",
        _table.Rows());

    private void Compare(ModelResult result)
    {
        if (result.Kind == ResultKind.Rollout)
            _table.AddAbsolute(result.Group, result.Name, result.Values, result.Twin!, 0);
        else if (_reference is null)
            CompareWithDump(result);
        else
            CompareRounded(result, _reference);
    }

    private void CompareWithDump(ModelResult result)
    {
        double limit = result.Kind switch
        {
            ResultKind.Gradient or ResultKind.Weight or ResultKind.GradientNorm => GradientLimit,
            ResultKind.GreedyTokens or ResultKind.ClippedTokens => 0,
            _ => _activationLimit,
        };
        if (result.Kind is ResultKind.Loss or ResultKind.MeanEntropy or ResultKind.GradientNorm or ResultKind.ClippedTokens)
            _table.Add(result.Group, result.Name, result.Values[0], _dump.Number(result.DumpName), limit);
        else
            _table.Add(result.Group, result.Name, result.Values, _dump.Elements(result.DumpName), limit);
    }

    private void CompareRounded(ModelResult result, Dictionary<string, float[]> reference)
    {
        switch (result.Kind)
        {
            // The kernels of a pass are held to the CPU; that the whole is still the model of the dump, to the dump.
            case ResultKind.Activation:
                _table.Add(result.Group, result.Name, result.Values, reference[result.Name], RoundedActivationLimit);
                _table.Add(result.Group + " (dump)", result.Name, result.Values, _dump.Elements(result.DumpName),
                    RoundedActivationLimit);
                break;
            case ResultKind.LogProbability or ResultKind.Entropy or ResultKind.MeanEntropy:
                _table.AddAbsolute(result.Group, result.Name, result.Values, reference[result.Name], RoundedNats);
                break;
            case ResultKind.Gradient:
                _table.Add(result.Group, result.Name, result.Values, reference[result.Name], RoundedGradientLimit);
                break;
            case ResultKind.Weight:
                _table.Add(result.Group, result.Name, result.Values, reference[result.Name], RoundedActivationLimit);
                break;
            case ResultKind.Loss:
                _table.Add(result.Group, result.Name, result.Values[0], reference[result.Name][0], RoundedActivationLimit);
                break;
            case ResultKind.GradientNorm:
                _table.Add(result.Group, result.Name, result.Values[0], reference[result.Name][0], RoundedGradientLimit);
                break;
            default:
                // Advantages come from rewards alone, and clipped tokens from ratios that were made to be the dump's.
                CompareWithDump(result);
                break;
        }
    }
}
