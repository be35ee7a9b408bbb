using System.Text.RegularExpressions;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cuda;

/// <summary>
/// The bindings against NVIDIA's own files, without a GPU: the names that real libraries export, and the numbers and
/// layouts of the headers. What the headers of CUDA 12.4 say is kept in <c>cuda-12.4.txt</c>, so that every machine
/// compares with it; where the headers are installed, they are asked again.
/// </summary>
public sealed class CudaDeclarationTests
{
    private static readonly string RecordPath = Repository.PathOf("tests", "Skylight.Tests", "Cuda", "cuda-12.4.txt");

    [Fact]
    public void Numbers_and_layouts_are_those_of_the_headers()
    {
        Dictionary<string, long> record = File.ReadLines(RecordPath).Select(line => line.Split(" = "))
            .ToDictionary(parts => parts[0], parts => long.Parse(parts[1]));
        (string Name, long Value, string Where)[] numbers = [.. CudaDeclarations.Numbers()];
        Assert.True(numbers.Count(number => number.Where == "CudaNumbers.cs") > 40
            && numbers.Count(number => number.Where == "cuda_abi.hpp") > 20, $"{numbers.Length} numbers were found");
        foreach ((string name, long value, string where) in numbers)
            Assert.True(record.TryGetValue(name, out long expected) && expected == value,
                $"{name} is {value} in {where}, {expected} in {RecordPath}");
        foreach ((string expression, long value) in CudaDeclarations.Layouts())
            Assert.True(record.TryGetValue(expression, out long expected) && expected == value,
                $"{expression} is {value} here, {expected} in {RecordPath}");
        Assert.Equal(Expressions(), record.Keys.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_number_of_the_bindings_has_its_name_in_CUDA()
    {
        // Else it would be compared with nothing.
        string source = File.ReadAllText(Repository.PathOf("src", "Skylight.Cuda", "Interop", "CudaNumbers.cs"));
        Assert.Equal(Regex.Count(source, @"\bconst\b"),
            CudaDeclarations.Numbers().Count(number => number.Where == "CudaNumbers.cs"));
    }

    [Fact]
    public void The_record_is_what_the_installed_headers_say()
    {
        string? folder = CudaDeclarations.HeaderFolder();
        Assert.SkipWhen(folder is null, "needs CUDA's headers: cuda.h in $CUDA_HOME/include, or Debian's nvidia-cuda-dev");
        using var temporary = new TemporaryFolder();
        Assert.Equal(File.ReadAllText(RecordPath), CudaDeclarations.Ask(folder, Expressions(), temporary.Path));
    }

    [Theory]
    [InlineData("cu", "libcuda.so.*", 45)]
    [InlineData("nvrtc", null, 12)]
    [InlineData("cublas", "libcublas.so.*", 6)]
    public void The_real_library_exports_every_name_that_is_bound(string prefix, string? file, int count)
    {
        string[] names = CudaDeclarations.Functions(prefix);
        Assert.True(names.Length >= count, $"only {names.Length} names were found: {string.Join(", ", names)}");
        string unpacked = Repository.PathOf("build", "cuda");
        string? library = file is null ? RealNvrtc.Files().Nvrtc
            : Directory.Exists(unpacked) ? Directory.EnumerateFiles(unpacked, file, SearchOption.AllDirectories)
            .FirstOrDefault() : null;
        Assert.SkipWhen(library is null,
            $"needs the real {file} in build/cuda, where .ci/install unpacks it from Debian's non-free packages");
        HashSet<string> exported = [.. CudaDeclarations.Run("nm", "-D", "--defined-only", library)
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' ')[^1].Split('@')[0])];
        Assert.True(exported.Count > names.Length, $"{library} exports {exported.Count} names");
        Assert.Superset(new HashSet<string>(names), exported);
    }

    private static string[] Expressions() =>
        [.. CudaDeclarations.Numbers().Select(number => number.Name).Concat(
            CudaDeclarations.Layouts().Select(layout => layout.Expression)).Distinct().Order(StringComparer.Ordinal)];
}
