namespace Skylight.Cli.Demo;

/// <summary>How many rows the files of the demo's data have.</summary>
/// <param name="Captions">Pictures of training digits and what is on them.</param>
/// <param name="Arithmetic">Arithmetic in text.</param>
/// <param name="ColdStart">Pictures with a question and a whole reasoning trace.</param>
/// <param name="Problems">Pictures of training digits with a question and its answer.</param>
/// <param name="Validation">The same, to choose a checkpoint by.</param>
/// <param name="Test">The same of held-out digits, to measure accuracy.</param>
internal sealed record DemoDataSizes(int Captions, int Arithmetic, int ColdStart, int Problems, int Validation, int Test)
{
    public static DemoDataSizes Of(DemoPreset preset) => preset switch
    {
        DemoPreset.Tiny => new DemoDataSizes(Captions: 8, Arithmetic: 6, ColdStart: 6, Problems: 8, Validation: 4, Test: 4),
        // Traces and test are those of the full run, so that figures compare.
        DemoPreset.Quick => new DemoDataSizes(Captions: 3000, Arithmetic: 1500, ColdStart: 128, Problems: 2000,
            Validation: 256, Test: 1000),
        _ => new DemoDataSizes(Captions: 6000, Arithmetic: 3000, ColdStart: 128, Problems: 4000, Validation: 256,
            Test: 1000),
    };
}
