using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Checkpoints;
using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Demo.Report;

namespace Skylight.Cli.Demo;

/// <summary>
/// The folder of a demo: its choices and what it has measured (demo.json), its model and data, the runs of its recipes,
/// and its report.
/// </summary>
internal sealed class DemoFolder
{
    public const string StateName = "demo.json", ReportName = "report.html", RunsName = "runs";
    private const string ModelName = "model", DataName = "data";
    private const int MostBytes = 16 << 20;

    private DemoFolder(string path, DemoState state) => (Path, State) = (path, state);

    /// <summary>Where it is, as it was given.</summary>
    public string Path { get; }

    /// <summary>What was chosen, and what was measured so far.</summary>
    public DemoState State { get; private set; }

    /// <summary>The checkpoint of random weights that everything begins with.</summary>
    public string Model => System.IO.Path.Combine(System.IO.Path.GetFullPath(Path), ModelName);

    /// <summary>The examples.</summary>
    public string Data => System.IO.Path.Combine(System.IO.Path.GetFullPath(Path), DataName);

    /// <summary>The folders of the recipes' runs.</summary>
    public string Runs => System.IO.Path.Combine(System.IO.Path.GetFullPath(Path), RunsName);

    /// <summary>Begins a demo.</summary>
    /// <exception cref="IOException">The folder holds one already, or something of that name, or cannot be
    /// written.</exception>
    public static DemoFolder Create(string path, DemoState state)
    {
        if (File.Exists(System.IO.Path.Combine(path, StateName)))
            throw new IOException(
                $"There is a demo in '{path}' already. Go on with it (--resume {path}), or choose another folder (--out).");
        if (((string[])[ModelName, DataName, RunsName, ReportName])
            .FirstOrDefault(name => System.IO.Path.Exists(System.IO.Path.Combine(path, name))) is { } taken)
            throw new IOException(
                $"The output folder '{path}' holds '{taken}', which is of no demo. Choose another with --out.");
        var folder = new DemoFolder(path, state);
        bool isThere = Directory.Exists(path);
        try
        {
            Directory.CreateDirectory(path);
            folder.Save();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or CheckpointException)
        {
            if (!isThere && Directory.Exists(path))
                Directory.Delete(path);
            throw new IOException(
                $"The output folder '{path}' cannot be written: {exception.Message} Choose another with --out.", exception);
        }

        return folder;
    }

    /// <summary>Opens what <see cref="Create"/> has begun.</summary>
    /// <exception cref="IOException">There is no demo in the folder.</exception>
    /// <exception cref="InvalidDataException">Its demo.json is damaged.</exception>
    public static DemoFolder Open(string path)
    {
        string file = System.IO.Path.Combine(path, StateName);
        if (!File.Exists(file))
            throw new IOException(
                $"There is no demo to go on with in '{path}': it has no {StateName}. Name the folder of one, or begin one with --out.");
        try
        {
            return new DemoFolder(path, DemoState.FromJson(BoundedFile.Read(file, MostBytes)));
        }
        catch (Exception exception) when (exception is JsonException or InvalidDataException)
        {
            throw new InvalidDataException($"'{file}' is not the state of a demo: {exception.Message}", exception);
        }
    }

    /// <summary>Makes what is not there yet of model and data; each appears whole or not at all.</summary>
    public void Prepare(CancellationToken cancellationToken)
    {
        // First, so that digits that cannot be read are known before anything is made.
        if (!Directory.Exists(Data))
            DemoData.Write(Data, DigitDataset.Open(State.Digits), State.Seed, DemoDataSizes.Of(State.Preset),
                cancellationToken);
        if (!Directory.Exists(Model))
            InitCommand.WriteDemo(Model, State.Seed, cancellationToken);
    }

    /// <summary>Keeps what was measured after a phase.</summary>
    public void Add(PhaseTest test)
    {
        State = State with { Tests = [.. State.Tests, test] };
        Save();
    }

    private void Save()
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(State, DemoStateJson.Default.DemoState);
        AtomicFile.Write(System.IO.Path.Combine(Path, StateName), json.Length, stream => stream.Write(json));
    }
}

/// <summary>What a demo was begun with, and what it has measured itself; the rest is in the folders of its runs.</summary>
internal sealed record DemoState
{
    // Set and not init: what a file does not say keeps its default.
    public ulong Seed { get; set; } = 1;

    public DemoPreset Preset { get; set; }

    /// <summary>The folder of the digits; null for the bundled ones.</summary>
    public string? Digits { get; set; }

    /// <summary>Of the phases that have ended, in their order.</summary>
    public IReadOnlyList<PhaseTest> Tests { get; set; } = [];

    /// <exception cref="JsonException">The text is not such a state.</exception>
    /// <exception cref="InvalidDataException">It is one that no demo has.</exception>
    public static DemoState FromJson(byte[] json)
    {
        DemoState state = JsonText.Deserialize(json, DemoStateJson.Default.DemoState);
        if (!Enum.IsDefined(state.Preset))
            throw new InvalidDataException("its 'Preset' is a number that stands for nothing.");
        for (int index = 0; index < state.Tests.Count; index++)
        {
            PhaseTest test = state.Tests[index] ?? throw new InvalidDataException($"its 'Tests[{index}]' is null.");
            if (index >= DemoPhases.All.Count || test.Phase != DemoPhases.All[index].Key)
                throw new InvalidDataException(
                    $"its 'Tests[{index}]' is of the phase '{test.Phase}', which does not come there.");
            if (test.Count < 1 || test.Correct < 0 || test.Correct > test.Count)
                throw new InvalidDataException($"its 'Tests[{index}]' has {test.Correct} of {test.Count} problems right.");
            if (test.Examples.Any(example => example is null))
                throw new InvalidDataException($"its 'Tests[{index}]' has an example that is null.");
        }

        return state;
    }
}

/// <summary>The answers of a phase's result to the held-out problems.</summary>
/// <param name="Phase">The key of the phase.</param>
/// <param name="Correct">Problems solved.</param>
/// <param name="Count">Problems given.</param>
/// <param name="Seconds">Wall time of the test.</param>
/// <param name="Examples">The answers to the first few problems.</param>
internal sealed record PhaseTest(string Phase, int Correct, int Count, double Seconds,
    IReadOnlyList<ExampleAnswer> Examples);

[JsonSourceGenerationOptions(WriteIndented = true, UseStringEnumConverter = true, RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(DemoState))]
internal sealed partial class DemoStateJson : JsonSerializerContext;
