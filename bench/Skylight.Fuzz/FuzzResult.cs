using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Skylight.Fuzz;

/// <summary>What fuzzing a target found.</summary>
/// <param name="Target">What was read.</param>
/// <param name="Seed">The seed of all that was random.</param>
/// <param name="Inputs">How many inputs were read.</param>
/// <param name="InputsPerSecond">How fast.</param>
/// <param name="Refused">How many were refused with a documented exception.</param>
/// <param name="Corpus">How many inputs took branches of their own; the seeds where nothing is instrumented.</param>
/// <param name="Branches">The branches taken; 0 where nothing is instrumented.</param>
/// <param name="SlowestMilliseconds">The longest time of an input, the best of three where it was over the limit.</param>
/// <param name="LargestAllocation">The most bytes that an input made the reader allocate.</param>
/// <param name="LargestShareOfLimit">The most that an input took of its limit of bytes; above 1 it is a fault.</param>
/// <param name="Faults">Each kind of fault with how often it came.</param>
internal sealed record FuzzResult(
    string Target, int Seed, long Inputs, double InputsPerSecond, long Refused, int Corpus, int Branches,
    double SlowestMilliseconds, long LargestAllocation, double LargestShareOfLimit,
    SortedDictionary<string, long> Faults);

/// <summary>What a run found.</summary>
/// <param name="Command">What was run.</param>
/// <param name="Version">The version of Skylight with its commit.</param>
/// <param name="Machine">Where.</param>
/// <param name="Results">Each target's.</param>
internal sealed record FuzzReport(string Command, string Version, string Machine, IReadOnlyList<FuzzResult> Results)
{
    public static FuzzReport Of(string command, IReadOnlyList<FuzzResult> results) => new(
        command,
        typeof(Models.ModelConfiguration)
            .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion,
        $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}, {Environment.ProcessorCount} threads, {RuntimeInformation.FrameworkDescription}",
        results);
}

/// <summary>How reports are written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(FuzzReport))]
internal sealed partial class FuzzJson : JsonSerializerContext;
