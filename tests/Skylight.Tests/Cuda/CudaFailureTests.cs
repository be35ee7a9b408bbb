using System.Globalization;
using Skylight.Checkpoints;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>What is missing or too small is said, and does no harm.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class CudaFailureTests
{
    [Fact]
    public void A_card_that_runs_out_of_memory_in_training_keeps_weights_and_checkpoints()
    {
        const int Rows = 4, TooManyRows = 1 << 18;
        using var folder = new TemporaryFolder();
        using SimulatedCard card = new(), roomy = new();
        TinyTraining training = new(card.Device), reference = new(roomy.Device);
        Step(1);
        Step(2);
        byte[][] saved = training.State;
        TrainingCheckpoint.Save(folder["step-2"], [.. training.Tensors.Select((tensor, index) => new TensorToWrite(
            tensor.Name, index == 0 ? StoredType.BFloat16 : StoredType.Float32, tensor.Type.Shape,
            stream => stream.Write(saved[index])))], "{}");

        card.Device.Synchronize();
        CudaMemoryInfo memory = card.Device.ReadMemory();
        Emulator.Configure("memory",
            (memory.TotalBytes - memory.FreeBytes + (1 << 20)).ToString(CultureInfo.InvariantCulture));
        try
        {
            OutOfDeviceMemoryException error = Assert.Throws<OutOfDeviceMemoryException>(
                () => training.Step(card.Workspace, TooManyRows, 3));
            Assert.Matches(
                @"^The plan needs 0\.0\d GB at its peak \(0\.0\d GB of activations and temporaries, 0\.00 GB of weights and state\)", error.Message);
            Assert.Matches(@"simt:0 \(.+\): [\d,]+ bytes cannot be reserved: 1,0[\d,]+ of [\d,]+ are free", error.Message);
            Assert.Equal(saved, training.State);
            Step(3);
            Step(4);
        }
        finally
        {
            Emulator.ConfigureDefaults();
        }

        Assert.Equal(reference.State, training.State);
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(folder["step-2"]);
        Assert.Equal(saved[3], checkpoint.Tensors.Bytes("master").ToArray());

        void Step(int number) =>
            Assert.Equal(reference.Step(roomy.Workspace, Rows, number), training.Step(card.Workspace, Rows, number));
    }

    [Fact]
    public void A_card_that_is_too_old_is_named_with_what_is_needed()
    {
        Emulator.Require();
        Emulator.Configure("capability", "75");
        try
        {
            NotSupportedException error = Assert.Throws<NotSupportedException>(() => new SimulatedCard());
            Assert.Contains("Skylight SIMT emulator has compute capability 7.5", error.Message);
            Assert.Contains("8.0 or newer", error.Message);
            CudaInstallation installation = CudaDevices.FindSimulated();
            Assert.Equal(error.Message, installation.Problem);
            Assert.Equal("sm_75", Assert.Single(installation.Cards).Architecture);
        }
        finally
        {
            Emulator.Configure("capability", "90");
        }
    }

    [Fact]
    public void A_missing_compiler_is_named_though_there_is_a_driver()
    {
        string emulator = EmulatorPath();
        CudaException error = Assert.Throws<CudaException>(
            () => CudaLibraries.Load(driver: emulator, nvrtc: "/nowhere/libnvrtc.so.12"));
        Assert.Contains("NVRTC", error.Message);
        Assert.Contains("/nowhere/libnvrtc.so.12: ", error.Message);
        Assert.Contains("SKYLIGHT_NVRTC", error.Message);
        CudaInstallation installation = CudaDevices.Find(driver: emulator, nvrtc: "/nowhere/libnvrtc.so.12",
            cublas: emulator);
        Assert.Equal(error.Message, installation.Nvrtc.Problem);
        Assert.Equal(error.Message, installation.Problem);
        Assert.Null(installation.Driver.Problem);
        Assert.Null(installation.Cublas.Problem);
        Assert.Null(Assert.Single(installation.Cards).Problem);
    }

    [Fact]
    public void A_library_that_is_something_else_is_refused()
    {
        // The system's mathematics: a library without any function of CUDA.
        CudaException error = Assert.Throws<CudaException>(
            () => CudaLibraries.Load(driver: "libm.so.6", nvrtc: EmulatorPath()));
        Assert.Contains("libm.so.6 has no function cu", error.Message);
        Assert.Equal(error.Message, CudaDevices.Find(driver: "libm.so.6").Problem);
    }

    [Fact]
    public void A_machine_without_a_driver_is_described()
    {
        CudaInstallation installation = CudaDevices.Find("/nowhere/libcuda.so.1", "/nowhere/libnvrtc.so.12",
            "/nowhere/libcublas.so.12");
        Assert.Empty(installation.Cards);
        Assert.Contains("/nowhere/libcuda.so.1: ", installation.Problem);
        Assert.Contains("SKYLIGHT_CUDA_DRIVER", installation.Driver.Problem);
        Assert.Contains("SKYLIGHT_CUBLAS", installation.Cublas.Problem);
        Assert.Contains("/nowhere/simt.so: ", CudaDevices.FindSimulated("/nowhere/simt.so").Problem);
    }

    [Fact]
    public void The_emulator_is_found_with_its_memory()
    {
        Emulator.Require();
        CudaInstallation installation = CudaDevices.FindSimulated();
        CudaCardInfo card = Assert.Single(installation.Cards);
        Assert.Equal((0, "sm_90a", 4, 4L << 30),
            (card.Ordinal, card.Architecture, card.MultiprocessorCount, card.TotalBytes));
        Assert.InRange(card.FreeBytes!.Value, 1, card.TotalBytes);
        Assert.Null(installation.Problem);
        Assert.NotNull(installation.Nvrtc.Version);
    }

    private static string EmulatorPath()
    {
        Emulator.Require();
        return Path.Combine(AppContext.BaseDirectory, "libskylight_simt.so");
    }
}
