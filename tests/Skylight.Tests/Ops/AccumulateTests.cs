using Skylight.Graphs;
using Skylight.Ops;

namespace Skylight.Tests.Ops;

public sealed class AccumulateTests
{
    [Fact]
    public void Adds_to_what_is_there_and_clears_it()
    {
        float[] sum = HeadReference.Normal(40 * 300, 1), value = HeadReference.Normal(40 * 300, 2);
        using var harness = new HeadHarness();
        Value accumulator = harness.Add(Given.Weight(sum, 40, 300));
        Value other = harness.Add(Given.Rows([1, 2, 3]).AsState());
        harness.Graph.AddNode(new Accumulate(), accumulator, harness.Add(Given.Weight(value, 40, 300)));
        harness.Graph.AddNode(new Clear(), other);
        Array[] after = harness.Run(accumulator, other);
        Assert.Equal(sum.Zip(value, (x, y) => x + y), (float[])after[0]);
        Assert.Equal([0f, 0f, 0f], (float[])after[1]);
    }

    [Fact]
    public void Only_persistent_tensors_of_one_type_can_be_changed()
    {
        Assert.Throws<GraphException>(() => HeadHarness.Run(new Accumulate(), Given.Rows([1]), Given.Rows([1])));
        Assert.Throws<GraphException>(
            () => HeadHarness.Run(new Accumulate(), Given.Rows([1]).AsState(), Given.Rows([1, 2])));
        Assert.Throws<GraphException>(
            () => HeadHarness.Run(new Accumulate(), Given.Weight([1], 1, 1), Given.Rows([1], 1, 1)));
        Assert.Throws<GraphException>(() => HeadHarness.Run(new Clear(), Given.Rows([1])));
    }
}
