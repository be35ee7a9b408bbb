using System.Diagnostics;
using System.Globalization;
using Skylight.Cpu;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;

// Writes TOKENS tokens with random weights in the shape of MODEL and prints, as one line of JSON, how wide this
// program's vectors are and how fast it was.
string shape = args.Length > 0 ? args[0] : "tiny";
int tokens = args.Length > 1 ? int.Parse(args[1], NumberStyles.None, CultureInfo.InvariantCulture) : 32;
using var device = new CpuDevice();
using var model = new VisionLanguageModel(ModelFamily.Configuration(shape), device, DataType.BFloat16);
model.Initialize(seed: 1);
using var engine = new GenerationEngine(model, cacheTokens: 1024);
var prompt = new TokenSequence([.. Enumerable.Range(1000, 32)], []);

// The first run plans, and is compiled where there is a compiler; half of the tokens suffice for that.
Run(tokens / 2);
(Completion completion, double seconds) = Run(tokens);
Console.WriteLine(string.Create(
    CultureInfo.InvariantCulture,
    $$"""{"vector_bits": {{CpuVectors.Bits}}, "machine_vector_bits": {{CpuVectors.MachineBits}}, "model": "{{shape}}", "tokens": {{completion.Tokens.Length}}, "seconds": {{seconds:F4}}, "checksum": {{Checksum(completion.Tokens)}}}"""));

(Completion Completion, double Seconds) Run(int count)
{
    long start = Stopwatch.GetTimestamp();
    Completion completion = engine.Generate([new GenerationRequest(prompt)],
        new SamplingOptions { MaxOutputTokens = count, Seed = 1 })[0][0];
    return (completion, Stopwatch.GetElapsedTime(start).TotalSeconds);
}

static uint Checksum(int[] tokens) => tokens.Aggregate(0u, (sum, token) => (sum ^ (uint)token) * 16777619);
