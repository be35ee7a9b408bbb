using Skylight.Graphs;
using Skylight.Ops;

namespace Skylight.Tests.Ops;

/// <summary>
/// The forms of the policy loss against their formulas in double precision; what is held has no slope there either.
/// </summary>
public sealed class PolicyFormTests
{
    private const float Low = 0.2f, High = 0.28f;
    private static readonly int[] s_lengths = [1, 40, 3, 17, 60, 9];

    public static TheoryData<PolicyForm, KlKind, float> Variants => new()
    {
        { PolicyForm.Clip, KlKind.K3, 1.5f }, { PolicyForm.Gspo, KlKind.None, 0f },
        { PolicyForm.Gspo, KlKind.K3, 1.1f }, { PolicyForm.GspoToken, KlKind.None, 0f },
        { PolicyForm.GspoToken, KlKind.K2, 1.1f }, { PolicyForm.Cispo, KlKind.None, 0f },
        { PolicyForm.Cispo, KlKind.K1, 0f }, { PolicyForm.Sapo, KlKind.None, 0f },
        { PolicyForm.Sapo, KlKind.K3, 0f }, { PolicyForm.Reinforce, KlKind.K2, 0f },
    };

    [Theory]
    [MemberData(nameof(Variants))]
    public void Value_and_gradient_are_those_of_the_formula(PolicyForm form, KlKind kl, float dualClip)
    {
        const float Beta = 0.3f;
        var batch = new Batch();
        var op = new PolicyLoss(Low, High, kl, kl == KlKind.None ? 0 : Beta, dualClip) { Form = form };
        (double loss, int clipped, float[] gradient) = batch.Run(op);

        double Formula(double[] at, double[] fixedAt)
        {
            double sum = 0;
            int first = 0;
            foreach (int length in s_lengths)
            {
                int[] rows = [.. Enumerable.Range(first, length)];
                first += length;
                double sequence = Math.Exp(rows.Average(row => at[row] - batch.Old[row])),
                    sequenceHeld = Math.Exp(rows.Average(row => fixedAt[row] - batch.Old[row]));
                foreach (int row in rows.Where(row => batch.Weights[row] != 0))
                {
                    double a = batch.Advantages[row], ratio = Math.Exp(at[row] - batch.Old[row]),
                        heldRatio = Math.Exp(fixedAt[row] - batch.Old[row]);
                    double objective = form switch
                    {
                        PolicyForm.Clip => Clipped(ratio, a),
                        PolicyForm.Gspo => Clipped(sequence, a),
                        PolicyForm.GspoToken => Clipped(sequenceHeld * Math.Exp(at[row] - fixedAt[row]), a),
                        PolicyForm.Cispo => Math.Min(Math.Max(heldRatio, 1 - (double)Low), 1 + (double)High) * a * at[row],
                        PolicyForm.Sapo =>
                            4 / (double)(a > 0 ? 1f : 1.05f) / (1 + Math.Exp(-(a > 0 ? 1f : 1.05f) * (ratio - 1))) * a,
                        _ => a * at[row],
                    };
                    double r = batch.Reference[row] - at[row];
                    double divergence = kl switch
                    {
                        KlKind.K1 => -r,
                        KlKind.K2 => r * r / 2,
                        KlKind.K3 => Math.Exp(r) - r - 1,
                        _ => 0,
                    };
                    sum += batch.Weights[row] * (-objective + op.Beta * divergence);
                }
            }

            return sum;
        }

        double Clipped(double ratio, double a)
        {
            double objective = Math.Min(ratio * a, Math.Min(Math.Max(ratio, 1 - (double)Low), 1 + (double)High) * a);
            return dualClip > 0 && a < 0 ? Math.Max(objective, dualClip * a) : objective;
        }

        double[] current = HeadReference.Widen(batch.LogProbability), held = [.. current];
        double expected = Formula(current, held);
        Assert.Equal(expected, loss, 1e-6 * (1 + Math.Abs(expected)));
        HeadReference.AssertClose(HeadReference.CentralDifferences(current, at => Formula(at, held), 1e-6), gradient,
            1e-5, "gradient");
        Assert.Equal(form is not (PolicyForm.Sapo or PolicyForm.Reinforce), clipped > 0);
        Assert.True(clipped < current.Length * 3 / 4);
    }

    [Fact]
    public void In_gspo_every_token_of_a_sequence_has_the_same_share_whatever_its_own_weight()
    {
        var batch = new Batch();
        float[] gradient = batch.Run(new PolicyLoss(1, 9, KlKind.None, 0) { Form = PolicyForm.Gspo }).Gradient;
        int first = 0;
        foreach (int length in s_lengths)
        {
            Assert.Single(gradient[first..(first + length)].Distinct());
            Assert.NotEqual(0, gradient[first]);
            first += length;
        }
    }

    [Fact]
    public void Where_the_ratio_is_far_away_the_soft_gate_and_the_cap_stay_finite()
    {
        Given[] rows = [Given.Rows([0, -2000, 0]), Given.Rows([-1000, 0, -20]), Given.Rows([0, 0, 0]),
            Given.Rows([-1, 1, 1]), Given.Rows([1, 1, 1])];
        foreach (PolicyForm form in (PolicyForm[])[PolicyForm.Sapo, PolicyForm.Cispo])
        {
            var op = new PolicyLoss(1, 0.28f, KlKind.None, 0) { Form = form };
            Assert.All(HeadHarness.Floats(op, rows), output => Assert.True(float.IsFinite(output[0])));
            float[] gradient = HeadHarness.Floats(new PolicyLossBackward(op), [.. rows, Given.Rows([1])])[0];
            Assert.Equal(form == PolicyForm.Sapo ? [0f, 0f, 0f] : [1.28f, 0f, -1.28f], gradient);
        }
    }

    [Fact]
    public void Rows_of_no_sequence_may_hold_anything()
    {
        float nan = float.NaN;
        Given[] rows = [Given.Rows([-1, -2, nan]), Given.Rows([-1, -2, nan]), Given.Rows([-1, -1, nan]),
            Given.Rows([1, 1, nan]), Given.Rows([1, 0, 1]), Given.Ids(3, 3, -1)];
        foreach (PolicyForm form in (PolicyForm[])[PolicyForm.Gspo, PolicyForm.GspoToken])
        {
            var op = new PolicyLoss(0.2f, 0.2f, KlKind.K3, 0.1f) { Form = form };
            Assert.All(HeadHarness.Floats(op, rows), output => Assert.True(float.IsFinite(output[0])));
            Assert.Equal(form == PolicyForm.Gspo ? [-0.5f, -0.5f, 0f] : [-1f, 0f, 0f],
                HeadHarness.Floats(new PolicyLossBackward(op), [.. rows, Given.Rows([1])])[0]);
        }
    }

    [Fact]
    public void Misuse_is_refused_when_the_graph_is_built()
    {
        Given rows = Given.Rows([1, 2]);
        var op = new PolicyLoss(0.2f, 0.2f, KlKind.None, 0);
        Refused("takes 6 inputs", op with { Form = PolicyForm.Gspo }, rows, rows, rows, rows, rows);
        Refused("takes 5 inputs", op, rows, rows, rows, rows, rows, Given.Ids(0, 0));
        Refused("sequences", op with { Form = PolicyForm.GspoToken }, rows, rows, rows, rows, rows, Given.Ids(0));
        Refused("dual clip of 3", op with { Form = PolicyForm.Cispo, DualClip = 3 }, rows, rows, rows, rows, rows);
        Refused("temperatures", op with { Form = PolicyForm.Sapo, SapoNegative = 0 }, rows, rows, rows, rows, rows);
        Refused("form", op with { Form = (PolicyForm)17 }, rows, rows, rows, rows, rows);

        static void Refused(string expected, Op op, params Given[] inputs) =>
            Assert.Contains(expected, Assert.Throws<GraphException>(() => HeadHarness.Run(op, inputs)).Message,
                StringComparison.Ordinal);
    }

    private sealed class Batch
    {
        private static readonly int s_count = s_lengths.Sum();
        private readonly int[] _sequences = [
            .. s_lengths.SelectMany((length, index) => Enumerable.Repeat(index % 2, length))];

        public Batch()
        {
            // Each sequence has a drift of its own, so that some are clipped as a whole.
            float[] noise = HeadReference.Normal(s_count, 2, 0.3f), drift = HeadReference.Normal(s_lengths.Length, 8, 0.3f);
            float[] drifts = [.. s_lengths.SelectMany((length, index) => Enumerable.Repeat(drift[index], length))];
            LogProbability = [.. Old.Select((old, row) => old + noise[row] + drifts[row])];
        }

        public float[] Old { get; } = HeadReference.Normal(s_count, 1);

        public float[] LogProbability { get; }

        public float[] Reference { get; } = HeadReference.Normal(s_count, 3);

        public float[] Advantages { get; } = HeadReference.Normal(s_count, 4);

        public float[] Weights { get; } = [
            .. HeadReference.Normal(s_count, 5).Select((weight, row) => row % 5 == 2 ? 0 : Math.Abs(weight))];

        public (double Loss, int Clipped, float[] Gradient) Run(PolicyLoss op)
        {
            using var harness = new HeadHarness();
            Value x = harness.Add(Given.Rows(LogProbability));
            Value[] inputs = [x,
                .. new[] { Old, Reference, Advantages, Weights }.Select(rows => harness.Add(Given.Rows(rows)))];
            IReadOnlyList<Value> outputs = harness.Graph.AddNode(op,
                op.TakesSequences ? [.. inputs, harness.Add(Given.Ids(_sequences))] : inputs);
            Value gradient = harness.Graph.Differentiate(outputs[0], [x], harness.One(), new Add())[x];
            Array[] results = harness.Run(outputs[0], outputs[1], gradient);
            return (((float[])results[0])[0], ((int[])results[1])[0], (float[])results[2]);
        }
    }
}
