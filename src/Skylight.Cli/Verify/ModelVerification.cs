using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Training;
using Skylight.Training.Rewards;

namespace Skylight.Cli.Verify;

/// <summary>Recomputes everything that a reference dump holds, through the code that users run.</summary>
internal sealed class ModelVerification
{
    private const double ActivationLimit = 1e-5;
    private const double GradientLimit = 1e-4;

    /// <summary>The variants that a dump may hold, as its maker defines them.</summary>
    private static readonly (string Name, PolicyObjective Objective, LossAggregation Aggregation, int ConstantLength)[] s_variants =
    [
        ("sequence_mean", new PolicyObjective(0.2f, 0.2f), LossAggregation.SequenceMean, 0),
        ("token_mean_kl3", new PolicyObjective(0.2f, 0.28f, KlKind.K3, 0.04f), LossAggregation.TokenMean, 0),
        ("constant_kl1", new PolicyObjective(0.2f, 0.2f, KlKind.K1, 0.04f), LossAggregation.Constant, 64),
    ];

    private static readonly OptimizerOptions s_optimizer = new() { Beta1 = 0.9f, Beta2 = 0.95f, Epsilon = 1e-8f, WeightDecay = 0.1f, MaximumGradientNorm = 1f };
    private const float OptimizerLearningRate = 1e-3f;

    private readonly VisionLanguageModel _model;
    private readonly GoldenDump _dump;
    private readonly IReadOnlyList<GoldenSequence> _sequences;
    private readonly KeyMap _names;
    private readonly ComparisonTable _table = new();

    private ModelVerification(VisionLanguageModel model, GoldenDump dump)
    {
        _model = model;
        _dump = dump;
        _sequences = dump.Sequences();
        _names = KeyMap.For(model.Configuration, CheckpointNaming.HuggingFace);
    }

    /// <summary>Loads a checkpoint and compares it with a dump.</summary>
    /// <param name="checkpoint">The checkpoint's folder.</param>
    /// <param name="goldenFile">The dump.</param>
    /// <param name="device">Where the model is to run.</param>
    /// <param name="progress">Told what is compared now.</param>
    /// <param name="useFusion">Whether graphs use fused ops.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    public static IReadOnlyList<ComparisonRow> Run(string checkpoint, string goldenFile, Device device, Action<string>? progress = null, bool useFusion = true, CancellationToken cancellationToken = default)
    {
        using GoldenDump dump = GoldenDump.Open(goldenFile);
        int imageTokenId = dump.ImageTokenId(ModelConfiguration.Load(checkpoint));
        using VisionLanguageModel model = ModelCheckpoint.Load(checkpoint, device, imageTokenId: imageTokenId, cancellationToken: cancellationToken);
        model.UseFusion = useFusion;
        var verification = new ModelVerification(model, dump);
        foreach ((string name, Action<CancellationToken> compare) in verification.Parts())
        {
            progress?.Invoke(name);
            compare(cancellationToken);
        }

        return verification._table.Rows();
    }

    private IEnumerable<(string Name, Action<CancellationToken> Compare)> Parts()
    {
        yield return ("activations and logits", CompareActivations);
        yield return ("log-probabilities and entropies", CompareScores);
        yield return ("greedy decoding", CompareGreedy);
        yield return ("supervised gradients", CompareSupervised);
        foreach (var variant in s_variants.Where(variant => _dump.Has($"grpo.{variant.Name}.loss")))
            yield return ($"GRPO {variant.Name}", token => ComparePolicy(variant.Name, variant.Objective, variant.Aggregation, variant.ConstantLength, token));

        // Last, because it changes the weights.
        yield return ("AdamW steps", CompareOptimizer);
    }

    private void CompareActivations(CancellationToken cancellationToken)
    {
        using var workspace = new Workspace(_model.Device);
        foreach (GoldenSequence sequence in _sequences)
        {
            var batch = PackedBatch.Pack([sequence.Sequence], _model.Configuration);
            var graph = new Graph();
            PackedForward forward = _model.Forward(graph, batch.Shape);
            var outputs = new List<(string Name, Value Value)> { ("logits", _model.Language.Logits(graph, forward.Hidden)) };
            if (forward.Features is not null)
                outputs.AddRange([("vit.embeddings", forward.VisionEmbeddings!), ("vit.last_hidden", forward.VisionHidden!), ("connector.output", forward.Features)]);
            foreach ((string name, Value value) in outputs)
                graph.Output(name, value);
            _model.Fuse(graph);
            var executor = new Executor(Planner.Plan(graph, _model.Device), workspace);
            forward.Write(executor, batch);
            executor.Run(cancellationToken);
            foreach ((string name, _) in outputs.Where(output => _dump.Has($"{sequence.Name}.{output.Name}")))
                _table.Add(name, $"{sequence.Name}.{name}", executor.ReadFloats(graph.OutputNamed(name)), _dump.Floats($"{sequence.Name}.{name}"), ActivationLimit);
        }
    }

    private void CompareScores(CancellationToken cancellationToken)
    {
        using var scorer = new ModelScorer(_model);
        BatchResult scores = scorer.Score([.. _sequences.Select(sequence => new TrainingSample(sequence.Sequence, 1, new float[sequence.Sequence.Tokens.Length - 1]))], cancellationToken: cancellationToken);
        for (int index = 0; index < _sequences.Count; index++)
        {
            string name = _sequences[index].Name;
            _table.Add("token_logprob", name + ".token_logprob", scores.LogProbabilities[index], _dump.Floats(name + ".token_logprob"), ActivationLimit);
            _table.Add("token_entropy", name + ".token_entropy", scores.Entropies[index], _dump.Floats(name + ".token_entropy"), ActivationLimit);
        }
    }

    private void CompareGreedy(CancellationToken cancellationToken)
    {
        foreach (GoldenSequence sequence in _sequences)
        {
            if (_dump.TrailingNumber(sequence.Name + ".greedy_") is not { } count)
                continue;
            string name = $"{sequence.Name}.greedy_{count}";
            using var engine = new GenerationEngine(_model, cacheTokens: 2 * (sequence.Sequence.Tokens.Length + count + 64));
            Completion completion = engine.Generate([new GenerationRequest(sequence.Sequence)], new SamplingOptions { Temperature = 0, MaxNewTokens = count }, cancellationToken)[0][0];
            _table.Add($"greedy_{count}", name, [.. completion.Tokens.Select(token => (float)token)], [.. _dump.Integers(name).Select(token => (float)token)], 0);
        }
    }

    private void CompareSupervised(CancellationToken cancellationToken)
    {
        if (!_dump.Has("sft.loss"))
            return;
        using var trainer = new ModelTrainer(_model, TrainableModules.All, s_optimizer);
        BatchResult result = trainer.AccumulateGradients(SupervisedSamples(), new CrossEntropyObjective(), cancellationToken);
        _table.Add("sft.loss", "sft.loss", result.Loss, _dump.Number("sft.loss"), ActivationLimit);
        CompareGradients("sft.grad", trainer);
    }

    private void ComparePolicy(string name, PolicyObjective objective, LossAggregation aggregation, int constantLength, CancellationToken cancellationToken)
    {
        string prefix = $"grpo.{name}";
        float[] advantages = GroupAdvantages.Of([.. _dump.Floats("grpo.rewards").Select(reward => (double)reward)]);
        _table.Add("grpo.advantages", prefix + ".advantages", advantages, _dump.Floats("grpo.advantages"), ActivationLimit);
        Rollout[] rollouts = [.. _sequences.Select((sequence, index) => RolloutOf(sequence, advantages[index]))];
        using var trainer = new ModelTrainer(_model, TrainableModules.All, s_optimizer);
        var update = new PolicyUpdate(trainer, new GrpoOptions { GroupSize = rollouts.Length, Objective = objective, Aggregation = aggregation, ConstantLength = constantLength });
        BatchResult result = update.AccumulateGradients(rollouts, cancellationToken);
        _table.Add("grpo.loss", prefix + ".loss", result.Loss, _dump.Number(prefix + ".loss"), ActivationLimit);
        _table.Add("grpo.clipped_tokens", prefix + ".clipped_tokens", result.ClippedTokens, _dump.Integers(prefix + ".clipped_tokens")[0], 0);
        if (result.Entropies.Length == rollouts.Length)
            _table.Add("grpo.mean_entropy", prefix + ".mean_entropy", result.Entropies.SelectMany(entropies => entropies).Average(entropy => (double)entropy), _dump.Number(prefix + ".mean_entropy"), ActivationLimit);
        CompareGradients(prefix + ".grad", trainer);
    }

    private void CompareOptimizer(CancellationToken cancellationToken)
    {
        using var trainer = new ModelTrainer(_model, TrainableModules.All, s_optimizer);
        int steps = 0;
        for (; _dump.Has($"adamw.step{steps}.loss"); steps++)
        {
            BatchResult result = trainer.AccumulateGradients(SupervisedSamples(), new CrossEntropyObjective(), cancellationToken);
            float norm = trainer.Step(OptimizerLearningRate);
            _table.Add("adamw.loss", $"adamw.step{steps}.loss", result.Loss, _dump.Number($"adamw.step{steps}.loss"), ActivationLimit);
            _table.Add("adamw.grad_norm", $"adamw.step{steps}.grad_norm", norm, _dump.Number($"adamw.step{steps}.grad_norm"), GradientLimit);
        }

        CompareNamed($"adamw.after{steps}", _model.Parameters.All.Select(parameter => (parameter.Name, parameter)));
    }

    private void CompareGradients(string group, ModelTrainer trainer) =>
        CompareNamed(group, trainer.Gradients.Select(pair => (pair.Parameter.Name, pair.Gradient)));

    /// <summary>Splits our tensors as they are named on disk and compares those that the dump has.</summary>
    private void CompareNamed(string group, IEnumerable<(string Name, PersistentTensor Tensor)> tensors)
    {
        var compared = new HashSet<string>();
        foreach ((string name, PersistentTensor tensor) in tensors)
        {
            float[] values = ParameterSet.Read(_model.Device, tensor);
            foreach (KeyMapPiece piece in _names[name].Pieces)
            {
                string reference = $"{group}.{piece.TensorName}";
                if (!_dump.Has(reference))
                    continue;
                compared.Add(piece.TensorName);
                _table.Add(group, reference, piece.Of<float>(values.AsSpan()).ToArray(), _dump.Floats(reference), GradientLimit);
            }
        }

        string[] missing = [.. _dump.Below(group + ".").Where(name => !compared.Contains(name))];
        if (missing.Length > 0)
            throw new InvalidDataException($"The dump has {group} of tensors that the model lacks: {string.Join(", ", missing.Take(5))}.");
    }

    private TrainingSample[] SupervisedSamples()
    {
        float weight = 1f / _sequences.Sum(sequence => sequence.CompletionLength);
        return [.. _sequences.Select(sequence => new TrainingSample(sequence.Sequence, sequence.CompletionStart, [.. Enumerable.Repeat(weight, sequence.CompletionLength)]))];
    }

    private Rollout RolloutOf(GoldenSequence sequence, float advantage)
    {
        int[] tokens = sequence.Sequence.Tokens;
        var completion = new Completion(tokens[sequence.CompletionStart..], _dump.Floats($"grpo.{sequence.Name}.old_logprob"), [], FinishReason.Stop);
        return new Rollout(new TokenSequence(tokens[..sequence.CompletionStart], sequence.Sequence.Images), completion, default, advantage)
        {
            ReferenceLogProbabilities = _dump.Floats($"grpo.{sequence.Name}.ref_logprob"),
        };
    }
}
