using Skylight.Fuzz;

namespace Skylight.Tests.Reliability;

/// <summary>
/// Spoilt inputs of everything that is read from outside, the same few thousand each time; bench/reliability/fuzz.sh
/// reads a million of each.
/// </summary>
public class FuzzTests
{
    [Theory]
    [InlineData("safetensors", 20_000)]
    [InlineData("gguf", 20_000)]
    [InlineData("quantised", 20_000)]
    [InlineData("config.json", 10_000)]
    [InlineData("tokenizer.json", 10_000)]
    [InlineData("png", 5_000)]
    [InlineData("jpeg", 5_000)]
    [InlineData("webp", 3_000)]
    [InlineData("gif", 5_000)]
    [InlineData("bmp", 5_000)]
    [InlineData("tiff", 5_000)]
    [InlineData("tga", 5_000)]
    [InlineData("pnm", 5_000)]
    [InlineData("evaluation", 20_000)]
    [InlineData("losses", 10_000)]
    [InlineData("examples", 20_000)]
    [InlineData("parquet", 5_000)]
    [InlineData("chat-completions", 30_000)]
    [InlineData("responses", 10_000)]
    [InlineData("tool-calls", 20_000)]
    [InlineData("completions", 20_000)]
    [InlineData("tokenize", 20_000)]
    [InlineData("detokenize", 10_000)]
    [InlineData("chat-template", 10_000)]
    [InlineData("json-schema", 1_000)]
    [InlineData("grammar", 1_000)]
    [InlineData("pattern", 400)]
    [InlineData("verifier-reply", 30_000)]
    [InlineData("hub", 30_000)]
    public void Spoilt_inputs_are_read_or_refused_as_documented(string name, int inputs)
    {
        using FuzzTarget target = FuzzTargets.All[name]();
        FuzzResult result = new Fuzzer(target, seed: 1, failures: null).Run(inputs, TimeSpan.FromMinutes(5));
        Assert.True(result.Faults.Count == 0,
            $"skylight-fuzz {name}, seed 1: " +
            $"{string.Join("; ", result.Faults.Select(fault => $"{fault.Value} × {fault.Key}"))}");
        Assert.Equal(inputs, result.Inputs);
        // If nothing were refused, or nothing read, the damage would not reach what it is meant to reach.
        Assert.InRange(result.Refused, inputs / 10, inputs - (inputs / 200));
    }

    [Theory]
    [InlineData("InvalidOperationException")]
    [InlineData("memory")]
    public void What_is_not_documented_is_found(string fault)
    {
        using var target = new FaultyTarget(fault);
        FuzzResult result = new Fuzzer(target, seed: 1, failures: null).Run(2000, TimeSpan.FromMinutes(5));
        Assert.Contains(result.Faults, found => found.Key.StartsWith(fault, StringComparison.Ordinal));
    }

    private sealed class FaultyTarget(string fault) : FuzzTarget("faulty")
    {
        public override IReadOnlyList<byte[]> Seeds { get; } = ["{\"a\": 1}"u8.ToArray()];

        public override long AllocationLimit(int inputBytes) => 100_000;

        public override bool IsDocumented(Exception exception) => exception is FormatException;

        public override void Run(byte[] input)
        {
            if (!input.AsSpan().StartsWith("{\"a\""u8))
                throw new FormatException();
            if (input.Length > 8 && fault == "memory")
                GC.KeepAlive(new byte[200_000]);
            else if (input.Length > 8)
                throw new InvalidOperationException();
        }
    }
}
