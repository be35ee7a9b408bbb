using System.Globalization;
using System.Text.Json;
using Skylight.Fuzz;

return args switch
{
    ["fuzz", .. var rest] => Fuzz(rest),
    ["replay", var target, .. var files] => Replay(target, files),
    ["kill-training", .. var rest] => KillTraining.Run(rest),
    ["kill-saving", .. var rest] => KillSaving.Run(rest),
    ["save", var folder] => KillSaving.SaveForEver(folder),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine(
        $"""
        Usage: dotnet run -c Release --project bench/Skylight.Fuzz -- WHAT
          fuzz TARGET|all [--inputs 1000000] [--seconds 86400] [--seed 1] [--failures FOLDER] [--output FILE.json]
                 targets: {string.Join(", ", FuzzTargets.All.Keys)}
          replay TARGET FILE...     reads files once and says what became of them
          kill-training PROGRAM [--kills 200] [--seed 1] [--folder FOLDER]   kills PROGRAM (Skylight.Cli.dll) in its demo, and resumes, in chains
          kill-saving [--kills 200] [--seed 1] [--folder FOLDER]             kills a program that does nothing but save checkpoints
        bench/reliability has the long runs.
        """);
    return 2;
}

static int Fuzz(string[] args)
{
    var options = new Options(args);
    string[] names = options.First == "all" ? [.. FuzzTargets.All.Keys] : [options.First];
    var results = new List<FuzzResult>();
    foreach (string name in names)
    {
        if (!FuzzTargets.All.TryGetValue(name, out Func<FuzzTarget>? create))
            return Usage();
        using FuzzTarget target = create();
        FuzzResult result = new Fuzzer(target, options.Number("seed", 1), options.Text("failures"))
            .Run(options.Number("inputs", 1_000_000), TimeSpan.FromSeconds(options.Number("seconds", 86400)));
        results.Add(result);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{result.Target,-17} {result.Inputs,9:N0} inputs  {result.InputsPerSecond,8:N0}/s  {result.Refused * 100.0 / Math.Max(1, result.Inputs),5:F1} % refused  {result.Branches,6} branches  {result.Corpus,5} in corpus  slowest {result.SlowestMilliseconds,7:F1} ms  allocation {result.LargestAllocation / 1e6,6:F1} MB, {result.LargestShareOfLimit:P0} of its limit  {result.Faults.Values.Sum()} faults"));
        foreach ((string kind, long times) in result.Faults)
            Console.WriteLine($"    {times} × {kind}");
        if (options.Text("output") is { } path)
            File.WriteAllText(path,
                JsonSerializer.Serialize(FuzzReport.Of($"fuzz {string.Join(' ', args)}", results),
                    FuzzJson.Default.FuzzReport) + "\n");
    }

    return results.Exists(result => result.Faults.Count > 0) ? 1 : 0;
}

static int Replay(string name, string[] files)
{
    using FuzzTarget target = FuzzTargets.All[name]();
    foreach (string file in files)
    {
        try
        {
            target.Run(File.ReadAllBytes(file));
            Console.WriteLine($"{file}: read");
        }
        catch (Exception exception)
        {
            Console.WriteLine($"{file}: {(target.IsDocumented(exception) ? "refused: " + exception.Message : exception)}");
        }
    }

    return 0;
}
