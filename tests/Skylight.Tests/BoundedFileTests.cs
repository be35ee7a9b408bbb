using System.Diagnostics;
using Skylight.Checkpoints;
using Skylight.Cli.Evaluation;
using Skylight.Tests.Checkpoints;
using Skylight.Text;
using Skylight.Training.Evaluation;

namespace Skylight.Tests;

public sealed class BoundedFileTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(999)]
    [InlineData(1000)]
    public async Task A_file_up_to_the_limit_is_read_whole(int length)
    {
        using var folder = new TemporaryFolder();
        byte[] content = [.. Enumerable.Range(0, length).Select(value => (byte)value)];
        string file = folder.Write("file", content);
        Assert.Equal(content, BoundedFile.Read(file, 1000));
        Assert.Equal(content, await BoundedFile.ReadAsync(file, 1000, Stop));
    }

    [Fact]
    public async Task A_file_beyond_the_limit_is_refused_by_name()
    {
        using var folder = new TemporaryFolder();
        string file = folder.Write("file", new byte[1001]);
        Assert.Equal($"'{file}' has more than the 1,000 bytes that are supported.",
            Assert.Throws<FileTooLargeException>(() => BoundedFile.Read(file, 1000)).Message);
        await Assert.ThrowsAsync<FileTooLargeException>(() => BoundedFile.ReadAsync(file, 1000, Stop));
    }

    [Fact]
    public void A_folder_is_no_file()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("is a folder; a file is needed",
            Assert.Throws<IOException>(() => BoundedFile.Read(folder.Path, 10)).Message, StringComparison.Ordinal);
        Assert.Contains("is a folder", Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(folder.Path))
            .Message, StringComparison.Ordinal);
        // A folder of data is read; this one has none.
        Assert.Contains("has no .jsonl and no .parquet files",
            Assert.Throws<FileNotFoundException>(() => EvaluationData.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_never_ends_and_what_says_nothing_of_its_length_is_read_up_to_the_limit()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Devices and files of the kernel are Linux's.");
        Assert.Throws<FileTooLargeException>(() => BoundedFile.Read("/dev/zero", 1 << 20));
        await Assert.ThrowsAsync<FileTooLargeException>(() => BoundedFile.ReadAsync("/dev/zero", 1 << 20, Stop));
        Assert.Empty(BoundedFile.Read("/dev/null", 10));
        Assert.NotEmpty(BoundedFile.Read("/proc/self/status", 1 << 20));
        Assert.Throws<FileTooLargeException>(() => BoundedFile.Read("/proc/self/status", 5));
        // Rows are read one by one, no further than the file is long.
        Assert.Throws<InvalidDataException>(() => EvaluationData.Load("/dev/zero"));
        Assert.Throws<InvalidDataException>(() => EvaluationData.Load("/proc/self/status"));
    }

    // A read of one would wait for a writer until the test run is stopped.
    [Fact]
    public async Task A_named_pipe_is_refused_at_once()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && File.Exists("/usr/bin/mkfifo"), "There is no mkfifo.");
        using var folder = new TemporaryFolder();
        var settings = new EvaluationSettings("", "", "", 0, 0, 0, 0, 0, 0, default, default, "", null);
        string run = folder["run"], results = Path.Combine(run, "results.jsonl");
        EvaluationFolder.Open(run, settings, resume: false).Dispose();
        File.Delete(results);
        using (Process make = Process.Start("/usr/bin/mkfifo",
            [folder["config.json"], folder["model.safetensors"], folder["tokenizer.json"], results]))
            await make.WaitForExitAsync(Stop);
        string pipe = folder["config.json"];
        foreach (Action read in (Action[])
            [
                () => BoundedFile.Read(pipe, 10), () => JsonSource.Load(pipe), () => FileFaults.Check(pipe),
                () => EvaluationData.Load(pipe), () => ModelFingerprint.Of(folder.Path),
                () => SafetensorsFile.Open(folder["model.safetensors"]),
                () => BytePairTokenizer.Load(folder["tokenizer.json"]),
                () => EvaluationFolder.Open(run, settings, resume: true),
            ])
        {
            Exception? found = await Task.Run(() => Record.Exception(read), Stop).WaitAsync(TimeSpan.FromSeconds(30), Stop);
            Assert.Contains("is a named pipe; a file is needed", found?.Message, StringComparison.Ordinal);
        }
    }
}
