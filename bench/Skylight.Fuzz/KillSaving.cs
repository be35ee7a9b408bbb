using System.Diagnostics;
using System.Globalization;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Fuzz;

/// <summary>
/// Kills a program that does nothing but save: a training state and a sharded model, each again and again into one
/// folder, all numbers of a save being its own number. After each kill both must load, and hold the numbers of one save
/// only; none may be older than the one before.
/// </summary>
internal static class KillSaving
{
    private const int Elements = 1 << 20;

    private static readonly ModelConfiguration s_model =
        ModelFamily.Configuration("tiny") with
        {
            Language = ModelFamily.Configuration("tiny").Language with { VocabularySize = 151674 },
        };

    /// <summary>The child: saves until it is killed.</summary>
    public static int SaveForEver(string folder)
    {
        for (int number = Math.Max(State(folder), Model(folder)) + 1; ; number++)
        {
            float value = number;
            TrainingCheckpoint.Save(
                Path.Combine(folder, "state"),
                [.. Enumerable.Range(0, 4)
                    .Select(index => TensorToWrite.Float32($"tensor{index}", new Shape(Elements), Filled(value)))],
                string.Create(CultureInfo.InvariantCulture, $"{number}"));
            CheckpointWriter.Write(
                Path.Combine(folder, "model"), s_model, StoredType.Float32, (_, _, destination) =>
                    destination.Fill(value), new CheckpointWriterOptions { MaximumShardBytes = 16 << 20 });
        }
    }

    /// <summary>The parent.</summary>
    public static int Run(string[] args)
    {
        var options = new Options(args);
        int kills = options.Number("kills", 200), state = 0, model = 0, saves = 0;
        var random = new Random(options.Number("seed", 1));
        string folder = options.Text("folder") ?? Path.Combine(Path.GetTempPath(), $"skylight-kill-{Environment.ProcessId}");
        Directory.CreateDirectory(folder);
        for (int kill = 0; kill < kills; kill++)
        {
            using (Process child = Process.Start(Environment.ProcessPath!,
                Environment.ProcessPath!.EndsWith("dotnet", StringComparison.Ordinal)
                    ? [typeof(KillSaving).Assembly.Location, "save", folder] : ["save", folder]))
            {
                // Starting takes some hundred milliseconds; saving goes on for as long as it is let.
                child.WaitForExit(random.Next(150, 1500));
                if (child.HasExited)
                    throw new InvalidOperationException($"The program that saves ended by itself with {child.ExitCode}.");
                child.Kill();
                child.WaitForExit();
            }

            (int nextState, int nextModel) = (State(folder), Model(folder));
            if (nextState < state || nextModel < model)
                throw new InvalidDataException(
                    $"After kill {kill + 1} state {nextState} and model {nextModel} are older than {state} and {model}.");
            saves += nextState - state;
            (state, model) = (nextState, nextModel);
        }

        Directory.Delete(folder, recursive: true);
        Console.WriteLine($"kill-saving: {kills} kills, {saves} saves, 0 corrupt folders, nothing older than before");
        return 0;
    }

    private static float[] Filled(float value)
    {
        float[] values = new float[Elements];
        values.AsSpan().Fill(value);
        return values;
    }

    /// <summary>The number of the training state; 0 where there is none yet.</summary>
    private static int State(string folder)
    {
        string path = Path.Combine(folder, "state");
        if (TrainingCheckpoint.LatestIn(folder) is not { } latest)
            return Directory.Exists(path) || Directory.Exists(path + ".old")
                ? throw new InvalidDataException("The training state cannot be read.") : 0;
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(latest);
        int number = int.Parse(checkpoint.StateJson, CultureInfo.InvariantCulture);
        foreach (SafetensorsEntry entry in checkpoint.Tensors.Entries)
            Check("state", entry.Name, checkpoint.Tensors.ReadFloat32(entry.Name), number);
        return number;
    }

    /// <summary>The number of the model; 0 where there is none yet.</summary>
    private static int Model(string folder)
    {
        string path = Path.Combine(folder, "model");
        if (!Directory.Exists(path))
            return 0;
        int? number = null;
        using CheckpointReader reader = CheckpointReader.Open(path);
        KeyMap keyMap = KeyMap.For(ModelConfiguration.Load(path), reader.DetectNaming());
        reader.Verify(keyMap);
        foreach (KeyMapEntry entry in keyMap.Entries)
        {
            float[] values = new float[entry.Shape.ElementCount];
            reader.ReadParameter(entry, values);
            Check("model", entry.ParameterName, values, number ??= (int)values[0]);
        }

        return number ?? 0;
    }

    private static void Check(string what, string tensor, ReadOnlySpan<float> values, int number)
    {
        if (values.IndexOfAnyExcept(number) is >= 0 and var at)
            throw new InvalidDataException(
                $"The {what} of save {number} has {values[at]} in {tensor}: two saves are mixed.");
    }
}
