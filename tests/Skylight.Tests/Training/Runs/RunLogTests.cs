using System.Buffers.Binary;
using System.Text;
using Skylight.Training.Data;
using Skylight.Training.Runs;

namespace Skylight.Tests.Training.Runs;

public sealed class RunLogTests
{
    [Fact]
    public void The_checksum_is_that_of_the_standard_masked()
    {
        // CRC-32C of "123456789" is 0xE3069283 (RFC 3720 and every table of checksums).
        uint expected = System.Numerics.BitOperations.RotateRight(0xE3069283u, 15) + 0xa282ead8u;
        Assert.Equal(expected, TensorBoardLog.MaskedChecksum("123456789"u8));
    }

    [Fact]
    public void A_record_holds_its_scalars()
    {
        byte[] record = TensorBoardLog.Scalars(1.5, 300, [("train/loss", 0.25), ("train/reward", -2)]);
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(record);
        Assert.Equal(record.Length, 8 + 4 + length + 4);
        Assert.Equal(TensorBoardLog.MaskedChecksum(record.AsSpan(0, 8)),
            BinaryPrimitives.ReadUInt32LittleEndian(record.AsSpan(8)));
        ReadOnlySpan<byte> message = record.AsSpan(12, length);
        Assert.Equal(TensorBoardLog.MaskedChecksum(message),
            BinaryPrimitives.ReadUInt32LittleEndian(record.AsSpan(12 + length)));
        // wall_time = 1 (double), step = 2 (varint 300 = AC 02), summary = 5 with values of tag = 1 and simple_value = 2.
        byte[] expected =
        [
            0x09, .. BitConverter.GetBytes(1.5), 0x10, 0xAC, 0x02, 0x2A, 19 + 21,
            0x0A, 17, 0x0A, 10, .. "train/loss"u8, 0x15, .. BitConverter.GetBytes(0.25f),
            0x0A, 19, 0x0A, 12, .. "train/reward"u8, 0x15, .. BitConverter.GetBytes(-2f),
        ];
        Assert.Equal(expected, message.ToArray());
    }

    [Fact]
    public void What_was_written_after_the_saved_state_is_cut_off()
    {
        using var folder = new TemporaryFolder();
        string path = folder["log"];
        long saved;
        using (var file = new AppendedFile(path, 0))
        {
            file.Append("one\n"u8);
            saved = file.Length;
            file.Append("two\n"u8);
        }

        using (var file = new AppendedFile(path, saved))
            file.Append("three\n"u8);
        Assert.Equal("one\nthree\n", File.ReadAllText(path));
        File.WriteAllText(path, "x");
        Assert.Contains("was changed since", Assert.Throws<IOException>(() => new AppendedFile(path, saved)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Figures_and_samples_come_back()
    {
        using var folder = new TemporaryFolder();
        using (var log = new RunLog(folder.Path, RunLogLengths.None))
        {
            log.Write(new StepFigures(3, FigureKind.Step, [("loss", 0.5), ("critical_entropy", double.NaN)]));
            log.Write(new StepFigures(3, FigureKind.Evaluation, [("accuracy", 0.75)]));
            log.Write(new RunSample(3, "a.jsonl:1", "Où?", "là\n", [("total", 1), ("format", 0.5)], -0.5, 7, true));
        }

        IReadOnlyList<StepFigures> figures = RunLog.ReadMetrics(folder[RunLog.MetricsName], 1 << 20);
        Assert.Equal((3, 0.5, null), (figures[0].Step, figures[0]["loss"], figures[0]["critical_entropy"]));
        Assert.Equal((FigureKind.Evaluation, 0.75), (figures[1].Kind, figures[1]["accuracy"]));
        RunSample sample = Assert.Single(RunLog.ReadSamples(folder[RunLog.SamplesName], 1 << 20));
        Assert.Equal(("a.jsonl:1", "Où?", "là\n", -0.5, 7, true),
            (sample.Id, sample.Prompt, sample.Completion, sample.Advantage, sample.Tokens, sample.Finished));
        Assert.Equal([("total", 1), ("format", 0.5)], sample.Rewards);
        File.AppendAllText(folder[RunLog.MetricsName], "{", Encoding.UTF8);
        Assert.Contains("line 3",
            Assert.Throws<InvalidDataException>(() => RunLog.ReadMetrics(folder[RunLog.MetricsName], 1 << 20)).Message,
            StringComparison.Ordinal);
    }
}
