using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Training;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Cli.Verify;

/// <summary>
/// Recomputes everything that a reference dump holds, through the code that users run, and hands out the results one by
/// one.
/// </summary>
internal sealed class ModelRun
{
    /// <summary>The variants that a dump may hold, as its maker defines them.</summary>
    private static readonly (string Name, PolicyObjective Objective, LossAggregation Aggregation,
        int ConstantLength)[] s_variants =
    [
        ("sequence_mean", new PolicyObjective(0.2f, 0.2f), LossAggregation.SequenceMean, 0),
        ("token_mean_kl3", new PolicyObjective(0.2f, 0.28f, KlKind.K3, 0.04f), LossAggregation.TokenMean, 0),
        ("constant_kl1", new PolicyObjective(0.2f, 0.2f, KlKind.K1, 0.04f), LossAggregation.Constant, 64),
    ];

    private static readonly OptimizerOptions s_optimizer = new()
    {
        Beta1 = 0.9f,
        Beta2 = 0.95f,
        Epsilon = 1e-8f,
        WeightDecay = 0.1f,
        DecaysEveryParameter = true,
        MaximumGradientNorm = 1f
    };
    private const float OptimizerLearningRate = 1e-3f;

    private readonly VisionLanguageModel _model;
    private readonly GoldenDump _dump;
    private readonly bool _roundsWeights;
    private readonly Action<ModelResult> _record;
    private readonly IReadOnlyList<GoldenSequence> _sequences;
    private readonly KeyMap _names;

    /// <summary>
    /// What the model gives for the tokens of the sequences before any step, in the order of the sequences.
    /// </summary>
    private float[][] _logProbabilities = [];

    /// <summary>Prepares a run.</summary>
    /// <param name="model">The model; its weights are changed by the last part.</param>
    /// <param name="dump">What is to be recomputed.</param>
    /// <param name="roundsWeights">Whether the model's weights are rounded ones, other than those the dump was made
    /// with.</param>
    /// <param name="record">Takes the results.</param>
    public ModelRun(VisionLanguageModel model, GoldenDump dump, bool roundsWeights, Action<ModelResult> record)
    {
        _model = model;
        _dump = dump;
        _roundsWeights = roundsWeights;
        _record = record;
        _sequences = dump.Sequences();
        _names = KeyMap.For(model.Configuration, CheckpointNaming.HuggingFace);
    }

    /// <summary>Computes all parts in their order.</summary>
    /// <param name="generates">Whether completions are generated too.</param>
    /// <param name="progress">Told what is computed now.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    public void Compute(bool generates, Action<string>? progress, CancellationToken cancellationToken)
    {
        foreach ((string name, Action<CancellationToken> compute) in Parts(generates))
        {
            progress?.Invoke(name);
            compute(cancellationToken);
        }
    }

    private IEnumerable<(string Name, Action<CancellationToken> Compute)> Parts(bool generates)
    {
        yield return ("activations and logits", ComputeActivations);
        yield return ("log-probabilities and entropies", ComputeScores);
        if (generates)
            yield return ("greedy decoding", GenerateGreedily);
        yield return ("supervised gradients", ComputeSupervised);
        foreach (var variant in s_variants.Where(variant => _dump.Has($"grpo.{variant.Name}.loss")))
            yield return ($"GRPO {variant.Name}", token =>
                ComputePolicy(variant.Name, variant.Objective, variant.Aggregation, variant.ConstantLength, token));

        // Last, because it changes the weights.
        yield return ("AdamW steps", ComputeOptimizer);
    }

    /// <summary>Logits, and where there are pictures what leads to them, of one sequence.</summary>
    public static IReadOnlyList<(string Name, float[] Values)> Activations(VisionLanguageModel model, Workspace workspace,
        TokenSequence sequence, Predicate<string> wanted, CancellationToken cancellationToken)
    {
        var batch = PackedBatch.Pack([sequence], model.Configuration);
        var graph = new Graph();
        PackedForward forward = model.Forward(graph, batch.Shape);
        var outputs = new List<(string Name, Value Value)> { ("logits", model.Language.Logits(graph, forward.Hidden)) };
        if (forward.Features is not null)
            outputs.AddRange([("vit.embeddings", forward.VisionEmbeddings!),
                ("vit.last_hidden", forward.VisionHidden!), ("connector.output", forward.Features)]);
        foreach ((string name, Value value) in outputs)
            graph.Output(name, value);
        model.Fuse(graph);
        model.FuseForward(graph);
        var executor = new Executor(Planner.Plan(graph, model.Device), workspace);
        forward.Write(executor, batch);
        executor.Run(cancellationToken);
        return [.. outputs.Where(output => wanted(output.Name))
            .Select(output => (output.Name, executor.ReadFloats(graph.OutputNamed(output.Name))))];
    }

    private void ComputeActivations(CancellationToken cancellationToken)
    {
        using var workspace = new Workspace(_model.Device);
        foreach (GoldenSequence sequence in _sequences)
        {
            foreach ((string name, float[] values) in Activations(_model, workspace, sequence.Sequence,
                name => _dump.Has($"{sequence.Name}.{name}"), cancellationToken))
                Record(ResultKind.Activation, name, $"{sequence.Name}.{name}", values);
        }
    }

    private void ComputeScores(CancellationToken cancellationToken)
    {
        using var scorer = new ModelScorer(_model);
        BatchResult scores = scorer.Score(
            [.. _sequences.Select(sequence =>
                new TrainingSample(sequence.Sequence, 1, new float[sequence.Sequence.Tokens.Length - 1]))],
                    cancellationToken: cancellationToken);
        _logProbabilities = scores.LogProbabilities;
        for (int index = 0; index < _sequences.Count; index++)
        {
            string name = _sequences[index].Name;
            Record(ResultKind.LogProbability, "token_logprob", name + ".token_logprob", scores.LogProbabilities[index]);
            Record(ResultKind.Entropy, "token_entropy", name + ".token_entropy", scores.Entropies[index]);
        }
    }

    private void GenerateGreedily(CancellationToken cancellationToken)
    {
        foreach (GoldenSequence sequence in _sequences)
        {
            if (_dump.TrailingNumber(sequence.Name + ".greedy_") is not { } count)
                continue;
            string name = $"{sequence.Name}.greedy_{count}";
            using var engine = new GenerationEngine(_model, cacheTokens: 2 * (sequence.Sequence.Tokens.Length + count + 64));
            Completion completion = engine.Generate([new GenerationRequest(sequence.Sequence)],
                new SamplingOptions { Temperature = 0, MaxOutputTokens = count }, cancellationToken)[0][0];
            RecordRollout(sequence.Sequence, name, completion, cancellationToken);
            // Where two tokens are nearly as likely, rounding decides between them, and all that follows is another text.
            if (!_roundsWeights)
                Record(ResultKind.GreedyTokens, $"greedy_{count}", name,
                    [.. completion.Tokens.Select(token => (float)token)]);
        }
    }

    /// <summary>
    /// What must hold on every device, to the last bit: training sees the completion as likely as generating it said.
    /// </summary>
    private void RecordRollout(TokenSequence prompt, string name, Completion completion, CancellationToken cancellationToken)
    {
        int start = prompt.Tokens.Length;
        var whole = new TokenSequence([.. prompt.Tokens, .. completion.Tokens], prompt.Images) { TextFrom = start };
        using var scorer = new ModelScorer(_model);
        BatchResult scores = scorer.Score([new TrainingSample(whole, start, new float[completion.Tokens.Length])],
            cancellationToken: cancellationToken);
        _record(new ModelResult(ResultKind.Rollout, "rollout − training", name,
            completion.LogProbabilities)
        { Twin = scores.LogProbabilities[0] });
    }

    private void ComputeSupervised(CancellationToken cancellationToken)
    {
        if (!_dump.Has("sft.loss"))
            return;
        using var trainer = new ModelTrainer(_model, TrainableModules.All, s_optimizer);
        BatchResult result = trainer.AccumulateGradients(SupervisedSamples(), new CrossEntropyObjective(),
            cancellationToken);
        Record(ResultKind.Loss, "sft.loss", "sft.loss", result.Loss);
        RecordGradients("sft.grad", trainer);
    }

    private void ComputePolicy(string name, PolicyObjective objective, LossAggregation aggregation, int constantLength,
        CancellationToken cancellationToken)
    {
        string prefix = $"grpo.{name}";
        float[] advantages = GroupAdvantages.Of(
            [.. _dump.Floats("grpo.rewards", _sequences.Count).Select(reward => (double)reward)]);
        _record(new ModelResult(ResultKind.Advantage, "grpo.advantages", prefix + ".advantages",
            advantages)
        { DumpName = "grpo.advantages" });
        Rollout[] rollouts = [.. _sequences.Select((sequence, index) => RolloutOf(index, sequence, advantages[index]))];
        using var trainer = new ModelTrainer(_model, TrainableModules.All, s_optimizer);
        var update = new PolicyUpdate(trainer,
            new GrpoOptions
            {
                GroupSize = rollouts.Length,
                Objective = objective,
                Aggregation = aggregation,
                ConstantLength = constantLength,
            });
        BatchResult result = update.AccumulateGradients(rollouts, cancellationToken);
        Record(ResultKind.Loss, "grpo.loss", prefix + ".loss", result.Loss);
        Record(ResultKind.ClippedTokens, "grpo.clipped_tokens", prefix + ".clipped_tokens", result.ClippedTokens);
        if (result.Entropies.Length == rollouts.Length)
            Record(ResultKind.MeanEntropy, "grpo.mean_entropy", prefix + ".mean_entropy",
                result.Entropies.SelectMany(entropies => entropies).Average(entropy => (double)entropy));
        RecordGradients(prefix + ".grad", trainer);
    }

    private void ComputeOptimizer(CancellationToken cancellationToken)
    {
        using var trainer = new ModelTrainer(_model, TrainableModules.All, s_optimizer);
        int steps = 0;
        for (; _dump.Has($"adamw.step{steps}.loss"); steps++)
        {
            BatchResult result = trainer.AccumulateGradients(SupervisedSamples(), new CrossEntropyObjective(),
                cancellationToken);
            float norm = trainer.Step(OptimizerLearningRate);
            Record(ResultKind.Loss, "adamw.loss", $"adamw.step{steps}.loss", result.Loss);
            Record(ResultKind.GradientNorm, "adamw.grad_norm", $"adamw.step{steps}.grad_norm", norm);
        }

        RecordNamed(ResultKind.Weight, $"adamw.after{steps}",
            _model.Parameters.All.Select(parameter => (parameter.Name, parameter)));
    }

    private void RecordGradients(string group, ModelTrainer trainer) =>
        RecordNamed(ResultKind.Gradient, group, trainer.Gradients.Select(pair => (pair.Parameter.Name, pair.Gradient)));

    /// <summary>Splits our tensors as they are named on disk and records those that the dump has.</summary>
    private void RecordNamed(ResultKind kind, string group, IEnumerable<(string Name, PersistentTensor Tensor)> tensors)
    {
        var recorded = new HashSet<string>();
        foreach ((string name, PersistentTensor tensor) in tensors)
        {
            float[] values = PersistentTensors.Read(_model.Device, tensor);
            foreach (KeyMapPiece piece in _names[name].Pieces)
            {
                string reference = $"{group}.{piece.TensorName}";
                if (!_dump.Has(reference))
                    continue;
                recorded.Add(piece.TensorName);
                Record(kind, group, reference, piece.Of<float>(values.AsSpan()).ToArray());
            }
        }

        string[] missing = [.. _dump.Below(group + ".").Where(name => !recorded.Contains(name))];
        if (missing.Length > 0)
            throw new InvalidDataException(
                $"The dump has {group} of tensors that the model lacks: {string.Join(", ", missing.Take(5))}.");
    }

    private TrainingSample[] SupervisedSamples()
    {
        float weight = 1f / _sequences.Sum(sequence => sequence.CompletionLength);
        return [.. _sequences.Select(sequence => new TrainingSample(sequence.Sequence, sequence.CompletionStart,
            [.. Enumerable.Repeat(weight, sequence.CompletionLength)]))];
    }

    private Rollout RolloutOf(int index, GoldenSequence sequence, float advantage)
    {
        int[] tokens = sequence.Sequence.Tokens;
        var completion = new Completion(tokens[sequence.CompletionStart..],
            SeenFromHere(index, _dump.Floats($"grpo.{sequence.Name}.old_logprob", sequence.CompletionLength)), [],
            FinishReason.Stop);
        return new Rollout(new TokenSequence(tokens[..sequence.CompletionStart], sequence.Sequence.Images), completion,
            new RewardBreakdown(0, [], []), advantage)
        {
            ReferenceLogProbabilities = SeenFromHere(index,
                _dump.Floats($"grpo.{sequence.Name}.ref_logprob", sequence.CompletionLength)),
        };
    }

    /// <summary>
    /// Log-probabilities of another policy, moved by as much as our own ones are from the dump's. A token is clipped or
    /// not by its ratio of probabilities: that of rounded weights' own log-probabilities to the dump's old ones would
    /// fall on the other side of the limit now and then, and gradients would differ by whole tokens. So moved, the
    /// ratios and the clipped tokens are the dump's, whatever the rounding.
    /// </summary>
    private float[] SeenFromHere(int sequence, float[] others)
    {
        if (!_roundsWeights)
            return others;
        // Ours are of all tokens but the first, the others of the completion.
        float[] own = _logProbabilities[sequence],
            dump = _dump.Floats(_sequences[sequence].Name + ".token_logprob", own.Length);
        int first = _sequences[sequence].CompletionStart - 1;
        return [.. others.Select((other, token) => (float)(other + ((double)own[first + token] - dump[first + token])))];
    }

    private void Record(ResultKind kind, string group, string name, float[] values) =>
        _record(new ModelResult(kind, group, name, values));

    private void Record(ResultKind kind, string group, string name, double value) =>
        Record(kind, group, name, [(float)value]);
}
