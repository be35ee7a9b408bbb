using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>Loading and saving through a card's memory, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class CheckpointOnCardTests
{
    [Fact]
    public void A_model_of_many_blocks_is_loaded_and_saved_as_on_the_CPU()
    {
        using var folder = new TemporaryFolder();
        // Its embedding is larger than a block; stored as float32, so that it is rounded on the way.
        RandomCheckpoint.Write(folder["stored"], ModelFamily.Configuration("tiny"), StoredType.Float32, 4);
        using var card = new SimulatedCard();
        using VisionLanguageModel onCard = ModelCheckpoint.Load(folder["stored"], card.Device);
        using var cpu = new CpuDevice();
        using VisionLanguageModel onCpu = ModelCheckpoint.Load(folder["stored"], cpu, DataType.BFloat16);
        AssertSame(onCpu, onCard);
        ModelCheckpoint.Save(onCard, folder["saved"]);
        using VisionLanguageModel again = ModelCheckpoint.Load(folder["saved"], cpu);
        AssertSame(onCpu, again);
    }

    private static void AssertSame(VisionLanguageModel expected, VisionLanguageModel found)
    {
        Assert.Equal(DataType.BFloat16, found.ParameterType);
        foreach (PersistentTensor parameter in expected.Parameters.All)
            Assert.True(PersistentTensors.Read(expected.Device, parameter).AsSpan()
                .SequenceEqual(PersistentTensors.Read(found.Device, found.Parameters[parameter.Name])), parameter.Name);
    }
}
