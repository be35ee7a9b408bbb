using System.Globalization;
using System.Text;
using System.Text.Json;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>The most memory that was resident, after a prompt and some tokens.</summary>
internal sealed record MemoryResult(long WeightBytes, long CacheBytes, long ResidentBefore, long PeakResident,
    int Prompt, int NewTokens)
{
    /// <summary>The peak over weights and cache.</summary>
    public double Share => (double)PeakResident / (WeightBytes + CacheBytes);

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"memory: weights {WeightBytes / 1e6:F0} MB + cache {CacheBytes / 1e6:F0} MB; most resident {PeakResident / 1e6:F0} MB = {Share:P1} of them, of which the process had {ResidentBefore / 1e6:F0} MB before");
}

/// <summary>One kind of pass.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Tokens">Tokens that it reads or makes.</param>
/// <param name="Seconds">The median.</param>
/// <param name="ShortestSeconds">The shortest.</param>
/// <param name="Bandwidth">Bytes per second of the read loop in the same rounds, median.</param>
/// <param name="BestBandwidth">The same at its best.</param>
/// <param name="PeakFlops">The multiply-add loop in the same rounds.</param>
/// <param name="IsCalm">Whether nothing else had a core.</param>
/// <param name="OutsideSeconds">The shortest time of a pass that was not in kernels.</param>
/// <param name="Ops">The shortest times of the ops, longest first.</param>
internal sealed record PassResult(
    string Name, int Tokens, double Seconds, double ShortestSeconds, double Bandwidth, double BestBandwidth,
    double PeakFlops, bool IsCalm, double OutsideSeconds, OpTime[] Ops)
{
    /// <summary>The median of llama.cpp in the same rounds; null where it does not run.</summary>
    public double? LlamaCppSeconds { get; init; }

    /// <summary>The same at its best.</summary>
    public double? LlamaCppShortestSeconds { get; init; }

    /// <summary>The shortest times of all parts together: a pass that nothing disturbs.</summary>
    public double UndisturbedSeconds => OutsideSeconds + Ops.Sum(op => op.Seconds);

    /// <summary>The time at the machine's speed: for each op the longer of its operations and its bytes.</summary>
    public double RooflineSeconds => Ops.Sum(RooflineOf);

    /// <summary>An op's time at the machine's best speed in the same rounds.</summary>
    public double RooflineOf(OpTime op) => Math.Max(op.Flops / PeakFlops, op.Bytes / BestBandwidth);

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        CultureInfo culture = CultureInfo.InvariantCulture;
        text.AppendLine(culture,
            $"{Name}: {Seconds * 1e3:F2} ms, {Tokens / Seconds:F1} tokens/s (at best {ShortestSeconds * 1e3:F2} ms, {Tokens / ShortestSeconds:F1}); read {Bandwidth / 1e9:F1} GB/s (at best {BestBandwidth / 1e9:F1}), FMA {PeakFlops / 1e9:F0} GFLOP/s{(IsCalm ? "" : "  (machine busy)")}");
        if (LlamaCppSeconds is { } llama && LlamaCppShortestSeconds is { } llamaShortest)
            text.AppendLine(culture,
                $"  llama.cpp {llama * 1e3:F2} ms, {Tokens / llama:F1} tokens/s (at best {llamaShortest * 1e3:F2} ms, {Tokens / llamaShortest:F1}); Skylight is {llama / Seconds:F2} times as fast (at best {llamaShortest / ShortestSeconds:F2})");
        text.AppendLine(culture, $"  {"op",-52} {"calls",5} {"ms",9} {"share",6} {"GFLOP/s",8} {"GB/s",7} {"roofline",9}");
        foreach (OpTime op in Ops.Take(14))
            text.AppendLine(culture,
                $"  {op.Name,-52} {op.Calls,5} {op.Seconds * 1e3,9:F3} {op.Seconds / UndisturbedSeconds,6:P0} {op.Flops / op.Seconds / 1e9,8:F1} {op.Bytes / op.Seconds / 1e9,7:F1} {RooflineOf(op) / op.Seconds,9:P0}");
        text.Append(culture,
            $"  outside of kernels {OutsideSeconds * 1e3:F3} ms; shortest of all parts {UndisturbedSeconds * 1e3:F2} ms = {Tokens / UndisturbedSeconds:F1} tokens/s; roofline {RooflineSeconds * 1e3:F2} ms");
        return text.ToString();
    }

    /// <summary>Writes it as an object.</summary>
    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("pass", Name);
        json.WriteBoolean("machine_was_calm", IsCalm);
        json.WriteNumber("ms", Math.Round(Seconds * 1e3, 3));
        json.WriteNumber("shortest_ms", Math.Round(ShortestSeconds * 1e3, 3));
        json.WriteNumber("tokens_per_second", Math.Round(Tokens / Seconds, 1));
        if (LlamaCppSeconds is { } llama && LlamaCppShortestSeconds is { } llamaShortest)
        {
            json.WriteNumber("llama_cpp_ms", Math.Round(llama * 1e3, 3));
            json.WriteNumber("llama_cpp_shortest_ms", Math.Round(llamaShortest * 1e3, 3));
            json.WriteNumber("llama_cpp_tokens_per_second", Math.Round(Tokens / llama, 1));
            json.WriteNumber("speed_over_llama_cpp", Math.Round(llama / Seconds, 2));
        }

        json.WriteNumber("read_bandwidth_gbs", Math.Round(Bandwidth / 1e9, 1));
        json.WriteNumber("best_read_bandwidth_gbs", Math.Round(BestBandwidth / 1e9, 1));
        json.WriteNumber("fma_peak_gflops", Math.Round(PeakFlops / 1e9));
        json.WriteNumber("roofline_ms", Math.Round(RooflineSeconds * 1e3, 3));
        json.WriteNumber("shortest_of_all_parts_ms", Math.Round(UndisturbedSeconds * 1e3, 3));
        json.WriteNumber("outside_of_kernels_ms", Math.Round(OutsideSeconds * 1e3, 3));
        json.WriteStartArray("ops");
        foreach (OpTime op in Ops)
        {
            json.WriteStartObject();
            json.WriteString("op", op.Name);
            json.WriteNumber("calls", op.Calls);
            json.WriteNumber("ms", Math.Round(op.Seconds * 1e3, 4));
            json.WriteNumber("roofline_share", Math.Round(RooflineOf(op) / op.Seconds, 3));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }
}

/// <summary>All that was measured of a model.</summary>
internal sealed class ModelResults(ModelBenchmarkOptions options, VisionLanguageModel model)
{
    private readonly List<PassResult> _passes = [];

    /// <summary>The most memory.</summary>
    public MemoryResult? Memory { get; set; }

    /// <summary>The time to plan a step of another shape.</summary>
    public double PlanSeconds { get; set; }

    /// <summary>The llama.cpp that ran beside; null without.</summary>
    public string? LlamaCpp { get; set; }

    /// <summary>Adds a pass.</summary>
    public void Add(PassResult pass) => _passes.Add(pass);

    /// <summary>Writes the results into an object that is open.</summary>
    public void Write(Utf8JsonWriter json)
    {
        json.WriteString("model", options.Like);
        json.WriteNumber("parameters", model.Parameters.ElementCount);
        json.WriteString("parameter_type", options.Type.ToString());
        json.WriteString("language_matrices", options.IsMixed ? "rounded to Q4_K_M by llama.cpp"
            : options.Quantization is { } format ? $"rounded to {(format == QuantizedFormat.Q8 ? "Q8_0" : "Q4_0")}" : "not rounded");
        json.WriteString("unit",
            "medians over the rounds in which nothing else had a core, with a read of 256 MB in turn; a prefill is a " +
            "whole engine step: picture, prompt and first token; roofline: for each op the longer of its flops " +
            "at the FMA peak and fewest bytes at the best read bandwidth");
        if (LlamaCpp is not null)
            json.WriteString("llama_cpp", LlamaCpp);
        if (Memory is { } memory)
        {
            json.WriteStartObject("memory");
            json.WriteString("scenario",
                string.Create(CultureInfo.InvariantCulture,
                    $"prompt of {memory.Prompt} tokens, {memory.NewTokens} new ones; weights made in place"));
            json.WriteNumber("weight_bytes", memory.WeightBytes);
            json.WriteNumber("cache_bytes", memory.CacheBytes);
            json.WriteNumber("resident_before_bytes", memory.ResidentBefore);
            json.WriteNumber("peak_resident_bytes", memory.PeakResident);
            json.WriteNumber("share_of_weights_and_cache", Math.Round(memory.Share, 3));
            json.WriteEndObject();
        }

        json.WriteNumber("plan_ms", Math.Round(PlanSeconds * 1e3, 2));
        json.WriteStartArray("passes");
        foreach (PassResult pass in _passes)
            pass.Write(json);
        json.WriteEndArray();
    }
}
