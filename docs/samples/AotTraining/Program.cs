using System.Globalization;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Text;
using Skylight.Training.Runs;

// Trains a little model of random weights for some steps on rows of JSONL, by a recipe, and prints the losses as one
// line of JSON.
string folder = Directory.CreateTempSubdirectory("skylight-training-").FullName;
try
{
    string model = Path.Combine(folder, "model"), run = Path.Combine(folder, "run");
    RandomCheckpoint.Write(model, ModelFamily.Configuration(ModelFamily.Demo), StoredType.Float32, 1,
        new CheckpointWriterOptions { TextFiles = DemoTokenizer.Files() });
    File.WriteAllLines(Path.Combine(folder, "rows.jsonl"),
        Enumerable.Range(0, 8).Select(row => $$"""{"question": "{{row}}+1=", "response": "{{row + 1}}"}"""));
    Recipe recipe = RecipeFile.Parse(
        $"method: sft\nlearning_rate: 1e-3\nsteps: 2\nbatch: 4\ndata_folder: '{folder}'\ndata: rows.jsonl\n", "recipe.yaml");
    RunResult result;
    await using (
        TrainingRun training = await TrainingRun.OpenAsync(recipe, model, run, new TrainingRunOptions(new CpuDevice())))
        result = await training.RunAsync();
    IEnumerable<string> losses = RunLog.ReadMetrics(Path.Combine(run, RunLog.MetricsName), 1 << 20)
        .Select(figures => figures["loss"]!.Value.ToString("R", CultureInfo.InvariantCulture));
    Console.WriteLine($$"""{"steps": {{result.Steps}}, "losses": [{{string.Join(", ", losses)}}]}""");
}
finally
{
    Directory.Delete(folder, recursive: true);
}
