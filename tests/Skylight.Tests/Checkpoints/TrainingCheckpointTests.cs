using Skylight.Checkpoints;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints;

public class TrainingCheckpointTests
{
    [Fact]
    public void WhatIsSavedIsLoaded()
    {
        using var folder = new TemporaryFolder();
        TrainingCheckpoint.Save(folder["runs/a/step-1"],
            [Value(3), TensorToWrite.Int32("order", new Shape(2), new[] { 4, 5 })], """{ "step": 1 }""");
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(folder["runs/a/step-1/"]);
        Assert.Equal("""{ "step": 1 }""", checkpoint.StateJson);
        Assert.Equal([3f], checkpoint.Tensors.ReadFloat32("value"));
        Assert.Equal([4, 5], checkpoint.Tensors.ReadInt32("order"));
        Assert.Equal(["step-1"], Directory.EnumerateDirectories(folder["runs/a"]).Select(Path.GetFileName));
    }

    [Fact]
    public void SavingAgainReplaces()
    {
        using var folder = new TemporaryFolder();
        Save(folder["last"], 1);
        Save(folder["last"], 2);
        Assert.Equal(2, Load(folder["last"]));
        Assert.Equal(["last"], folder.Names());
    }

    [Fact]
    public void FailedSaveKeepsThePreviousOne()
    {
        using var folder = new TemporaryFolder();
        Save(folder["last"], 1);
        TensorToWrite failing = new("value", StoredType.Float32, new Shape(1),
            _ => throw new IOException("No space left on device"));
        CheckpointException error = Assert.Throws<CheckpointException>(
            () => TrainingCheckpoint.Save(folder["last"], [failing], "{}"));
        Assert.Contains("No space left", error.Message);
        Assert.Contains("last", error.File);
        Assert.Equal(1, Load(folder["last"]));
        Assert.Equal(["last"], folder.Names());

        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.Throws<OperationCanceledException>(
            () => TrainingCheckpoint.Save(folder["last"], [Value(9)], "{}", source.Token));
        Assert.Throws<ArgumentException>(() => TrainingCheckpoint.Save(folder["last"], [Value(9)], "{ not json"));
        Assert.Equal(1, Load(folder["last"]));
        Assert.Equal(["last"], folder.Names());
    }

    [Fact]
    public void CrashAtAnyMomentOfAReplacementLosesNothing()
    {
        using var folder = new TemporaryFolder();
        // While the new one is written: a half-written .tmp beside the old one.
        Save(folder["last"], 1);
        Directory.CreateDirectory(folder["last.tmp"]);
        folder.Write("last.tmp/state.safetensors", "half");
        Assert.Equal(folder["last"], TrainingCheckpoint.LatestIn(folder.Path));
        Assert.Equal(1, Load(folder["last"]));

        // Between the two renames: the old one has stepped aside, the new one has not arrived.
        Directory.Move(folder["last"], folder["last.old"]);
        Assert.Equal(1, Load(TrainingCheckpoint.LatestIn(folder.Path)!));

        // The next save puts things right, also when it fails.
        TensorToWrite failing = new("value", StoredType.Float32, new Shape(1), _ => throw new IOException("full"));
        Assert.Throws<CheckpointException>(() => TrainingCheckpoint.Save(folder["last"], [failing], "{}"));
        Assert.Equal(1, Load(folder["last"]));
        Assert.Equal(["last"], folder.Names());

        // After both renames: the replaced one was not cleared away.
        Directory.Move(folder["last"], folder["last.old"]);
        Save(folder["new"], 2);
        Directory.Move(folder["new"], folder["last"]);
        Assert.Equal(2, Load(TrainingCheckpoint.LatestIn(folder.Path)!));
        Save(folder["last"], 3);
        Assert.Equal(3, Load(folder["last"]));
        Assert.Equal(["last"], folder.Names());
    }

    [Fact]
    public void LatestIsTheLargestNumberAmongTheCompleteOnes()
    {
        using var folder = new TemporaryFolder();
        Assert.Null(TrainingCheckpoint.LatestIn(folder.Path));
        Assert.Null(TrainingCheckpoint.LatestIn(folder["missing"]));
        foreach (int step in (int[])[9, 20, 100, 300, 400, 500])
            Save(folder[$"step-{step}"], step);
        Directory.CreateDirectory(folder["step-1000"]);
        Directory.Move(folder["step-500"], folder["step-500.tmp"]);
        File.Delete(folder["step-400/state.json"]);
        byte[] tensors = File.ReadAllBytes(folder["step-300/state.safetensors"]);
        File.WriteAllBytes(folder["step-300/state.safetensors"], tensors[..^1]);
        Assert.Equal(folder["step-100"], TrainingCheckpoint.LatestIn(folder.Path));
    }

    [Fact]
    public void BadCheckpointIsNamed()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("no such checkpoint",
            Assert.Throws<CheckpointException>(() => TrainingCheckpoint.Load(folder["missing"])).Message);
        Save(folder["a"], 1);
        folder.Write("a/state.json", "{");
        Assert.Equal(folder["a/state.json"],
            Assert.Throws<CheckpointException>(() => TrainingCheckpoint.Load(folder["a"])).File);
        File.Delete(folder["a/state.json"]);
        Assert.Equal(folder["a/state.json"],
            Assert.Throws<CheckpointException>(() => TrainingCheckpoint.Load(folder["a"])).File);

        folder.Write("file", "not a folder");
        Assert.Throws<CheckpointException>(
            () => TrainingCheckpoint.Save(Path.Combine(folder["file"], "step-1"), [Value(1)], "{}"));
        Assert.Throws<ArgumentException>(() => TrainingCheckpoint.Save(folder["step.tmp"], [Value(1)], "{}"));
    }

    private static TensorToWrite Value(float value) => TensorToWrite.Float32("value", new Shape(1), new[] { value });

    private static void Save(string directory, float value) => TrainingCheckpoint.Save(directory, [Value(value)], "{}");

    private static float Load(string directory)
    {
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(directory);
        return checkpoint.Tensors.ReadFloat32("value")[0];
    }
}
