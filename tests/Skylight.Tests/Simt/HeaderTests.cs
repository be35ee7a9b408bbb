using System.Text.RegularExpressions;

namespace Skylight.Tests.Simt;

/// <summary>The instruction wrappers of kernels/ptx and the emulator's host bodies are the same functions.</summary>
public sealed partial class HeaderTests
{
    /// <summary>
    /// Parameters by which the emulator learns the line of a barrier; they have defaults, so that calls look the same.
    /// </summary>
    private const string PlaceOfCall = "const char* file = __builtin_FILE(), int line = __builtin_LINE()";

    /// <summary>The files of kernels/ptx.</summary>
    public static TheoryData<string> Headers =>
        [.. Directory.EnumerateFiles(Repository.PathOf("kernels", "ptx"), "*.cuh")
            .Select(file => Path.GetFileName(file)).Order()];

    [Theory]
    [MemberData(nameof(Headers))]
    public void EveryInstructionHasAHostBodyOfTheSameSignature(string name)
    {
        string host = Repository.PathOf("native", "simt", "include", "ptx", name);
        Assert.True(File.Exists(host),
            $"kernels/ptx/{name} has no host bodies: add native/simt/include/ptx/{name} and embed it (source/embedded.cpp)");
        string[] expected = Signatures(File.ReadAllText(Repository.PathOf("kernels", "ptx", name)));
        Assert.NotEmpty(expected);
        Assert.Equal(expected, Signatures(File.ReadAllText(host)));
    }

    [Fact]
    public void NoHostBodyIsLeftOver()
    {
        string[] hosts = [.. Directory.EnumerateFiles(Repository.PathOf("native", "simt", "include", "ptx"), "*.cuh")
            .Select(file => Path.GetFileName(file)).Order()];
        Assert.Equal(Headers.Select(row => row.Data), hosts);
        string embedded = File.ReadAllText(Repository.PathOf("native", "simt", "source", "embedded.cpp"));
        Assert.All(hosts, host => Assert.Contains($"\"ptx/{host}\")", embedded, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("__device__ __forceinline__ int f(int x) { return x; }",
        "__device__ __forceinline__ int f(long x) { return 0; }")]
    [InlineData("template <int N>\n__device__ __forceinline__ void f() {}", "__device__ __forceinline__ void f() {}")]
    [InlineData("__device__ __forceinline__ void f(int x = 1) {}", "__device__ __forceinline__ void f(int x) {}")]
    public void DifferentSignaturesAreSeen(string left, string right) =>
        Assert.NotEqual(Signatures(left), Signatures(right));

    /// <summary>
    /// Every function with its template, return type, name, parameters and defaults; and the preprocessor condition it
    /// stands in.
    /// </summary>
    private static string[] Signatures(string text)
    {
        List<string> signatures = [];
        foreach (Match match in Function().Matches(text))
        {
            string condition = Condition().Matches(text[..match.Index]).Select(found => found.Value).LastOrDefault("");
            string signature = Spaces().Replace(match.Value.Replace(PlaceOfCall, "", StringComparison.Ordinal), " ");
            signatures.Add(condition.StartsWith("#if", StringComparison.Ordinal) ? $"{signature} {condition.Trim()}"
                : signature);
        }

        signatures.Sort(StringComparer.Ordinal);
        return [.. signatures];
    }

    [GeneratedRegex(@"(template <[^>]*>\s*)?__device__ __forceinline__ [^{;]*(?=\s*\{)")]
    private static partial Regex Function();

    [GeneratedRegex(@"^#(if|endif).*$", RegexOptions.Multiline)]
    private static partial Regex Condition();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
