using System.Text;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Benchmarks;

/// <summary>Records of kernels: what is kept of a run, what is not, and the table of the repository.</summary>
public sealed class RecordFolderTests
{
    private const string Readme = "# Records\n<!-- records: made by Skylight.Bench -- records -->\nold\n<!-- /records -->\nend\n";

    [Fact]
    public void Only_what_is_better_on_its_card_is_kept_and_the_table_says_all()
    {
        using var folder = new TemporaryFolder();
        folder.Write("README.md", Encoding.UTF8.GetBytes(Readme));
        string log = folder.Write("log", "printed"u8.ToArray());
        var records = new RecordFolder(folder.Path);
        MeasuredRecord first = Assert.Single(records.Add(Results(folder, "A", 2), "First: run!", log));
        // 2 · 8192³ operations in 2 ms.
        Assert.Equal(("product-8192", 549.76, "TFLOP/s", "A", "2026-01-02"),
            (first.Kernel, first.Figure, first.Unit, first.Device, first.Date));
        Assert.Equal(["log.txt", "record.json", "results.json"], Directory
            .EnumerateFiles(folder["product-8192/2026-01-02-first-run"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Empty(records.Add(Results(folder, "A", 2.5), "slower", null));
        Assert.Single(records.Add(Results(folder, "A", 1.6), "first run", null));
        Assert.Single(records.Add(Results(folder, "B", 3), "another card", null));
        Assert.Equal([("A", 549.76), ("A", 687.19), ("B", 366.5)],
            records.Read().Select(record => (record.Device, record.Figure)));
        string text = File.ReadAllText(folder["README.md"]);
        Assert.StartsWith("# Records\n", text, StringComparison.Ordinal);
        Assert.EndsWith("<!-- /records -->\nend\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("old", text, StringComparison.Ordinal);
        Assert.Contains("| product-8192 | 687.19 TFLOP/s | 86 % | 85 % | 795 TFLOP/s | 808 (fast.cu, H100; cuBLAS there 795; " +
            "ThunderKittens 855, shape not given) | A | " +
            "2026-01-02, first run, 0123456789 |", text, StringComparison.Ordinal);
        Assert.Contains("| attention-causal-4k | not measured |", text, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_no_result_of_kernels_is_refused_and_leaves_nothing()
    {
        using var folder = new TemporaryFolder();
        var records = new RecordFolder(folder.Path);
        string other = folder.Write("other.json", "{\"device\":1}"u8.ToArray());
        Assert.Contains("is not what", Assert.Throws<InvalidDataException>(() => records.Add(other, "x", null)).Message,
            StringComparison.Ordinal);
        string broken = folder.Write("broken.json", "{"u8.ToArray());
        Assert.Contains("is no JSON", Assert.Throws<InvalidDataException>(() => records.Add(broken, "x", null)).Message,
            StringComparison.Ordinal);
        Assert.Contains("does not say what is new",
            Assert.Throws<ArgumentException>(() => records.Add(other, "!", null)).Message, StringComparison.Ordinal);
        Assert.Contains("one line", Assert.Throws<ArgumentException>(() => records.Add(other, "a|b", null)).Message,
            StringComparison.Ordinal);
        Assert.Throws<FileNotFoundException>(() => records.Add(other, "x", folder["absent"]));
        folder.Write("README.md", "# Records\n"u8.ToArray());
        Assert.Contains("has no table", Assert.Throws<InvalidDataException>(records.WriteTable).Message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateDirectories(folder.Path));
    }

    [Fact]
    public void The_table_of_the_repository_is_that_of_its_records()
    {
        string text = File.ReadAllText(Repository.PathOf("bench", "records", "README.md"));
        Assert.Contains(RecordFolder.Table(new RecordFolder(Repository.PathOf("bench", "records")).Read()), text,
            StringComparison.Ordinal);
        Assert.Equal(KernelRecord.All.Count, KernelRecord.All.Select(record => record.Kernel).Distinct().Count());
    }

    [Fact]
    public void Figures_count_as_the_graph_does_where_sources_count_alike()
    {
        foreach (KernelRecord record in KernelRecord.All)
        {
            Workload half = record.Workload.ForActivations(DataType.BFloat16);
            Skylight.Graphs.OpCost cost = WorkloadGraph.Forward(half).Graph.Nodes[^1].Cost;
            // Statistics, row sums and single elements beside the products; tiles on a causal diagonal.
            Assert.InRange(record.Unit == "TB/s" ? cost.Bytes / record.Work : cost.Flops / record.Work, 0.85, 1.15);
        }
    }

    private static string Results(TemporaryFolder folder, string device, double milliseconds) => folder.Write("results.json",
        Encoding.UTF8.GetBytes(FormattableString.Invariant($$"""
            {
              "commit": "0123456789abcdef", "measured_utc": "2026-01-02T03:04Z", "device": "{{device}}",
              "workloads": [
                { "workload": "matmul/other", "own": { "ms": 1 } },
                { "workload": "rms_norm/record", "skipped": "no memory" },
                { "workload": "matmul/record-8192", "own": { "ms": {{milliseconds}} }, "library": { "ms": 1 } }
              ]
            }
            """)));
}
