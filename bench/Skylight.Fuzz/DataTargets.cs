using System.Buffers.Binary;
using Skylight.Training.Data;

namespace Skylight.Fuzz;

/// <summary>Rows to train on, in all forms, as JSONL.</summary>
internal sealed class ExamplesTarget() : FileTarget("examples", "data.jsonl")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        """
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A."}], "images": ["data.jsonl"], "solution": "\\boxed{3}"}
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q"}]}], "images": [{"bytes": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB", "path": "a.png"}], "answer": [1, true, "x"]}

        """u8.ToArray(),
        """
        {"id": 1, "image": ["data.jsonl", "data.jsonl"], "conversations": [{"from": "human", "value": "Image-1: <image> Image-2: <image>"}, {"from": "gpt", "value": "A"}], "difficulty": 0.5}
        {"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "good"}], "rejected": "bad", "system": "S", "reward_model": {"ground_truth": "4"}}
        {"question": "See <image 2>?", "options": "['a', \"b's\", '\\u00e9']", "answer": "B", "image_1": null, "image_2": "data.jsonl", "hint": "H", "category": "c", "mine": {"a": [null, 1e5]}}

        """u8.ToArray(),
    ];

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    public override long AllocationLimit(int inputBytes) => (4 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is InvalidDataException or BadRowException;

    protected override void Read() => DataReading.ReadAll(FilePath, 1 << 20);
}

/// <summary>
/// Rows of Parquet: what the library that reads it throws must not come through, and what a file claims must not be
/// believed.
/// </summary>
internal sealed class ParquetTarget() : FileTarget("parquet", "data.parquet")
{
    private const long MostGroupBytes = 4 << 20;

    public override IReadOnlyList<byte[]> Seeds { get; } =
        [.. Directory.EnumerateFiles(Repository.PathOf("tests", "golden", "data"), "*.parquet")
            .Order(StringComparer.Ordinal).Select(File.ReadAllBytes)];

    public override long AllocationLimit(int inputBytes) => (64 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is InvalidDataException or BadRowException;

    /// <summary>Makes the end right again, most of the time: without it nothing else is read.</summary>
    public override void Repair(byte[] input, Random random)
    {
        if (input.Length < 16 || random.Next(8) == 0)
            return;
        "PAR1"u8.CopyTo(input);
        "PAR1"u8.CopyTo(input.AsSpan(input.Length - 4));
        // The footer begins with the version, 1 or 2, and the list of the schema's elements.
        for (int at = input.Length - 12; at > 4; at--)
        {
            if (input[at] == 0x15 && input[at + 1] is 2 or 4 && input[at + 2] == 0x19)
            {
                BinaryPrimitives.WriteInt32LittleEndian(input.AsSpan(input.Length - 8), input.Length - 8 - at);
                return;
            }
        }
    }

    protected override void Read() => DataReading.ReadAll(FilePath, MostGroupBytes);
}

/// <summary>Reads a file to its end, bad rows included.</summary>
internal static class DataReading
{
    public static void ReadAll(string path, long mostGroupBytes)
    {
        using ExampleFiles files = ExampleFiles.OpenAsync([path], null, mostGroupBytes, default).GetAwaiter().GetResult();
        BadRowException? bad = null;
        for (long row = 0; row < Math.Min(files.Count, 64); row++)
        {
            try
            {
                files.ReadAsync(row).AsTask().GetAwaiter().GetResult();
            }
            catch (BadRowException exception)
            {
                bad = exception;
            }
        }

        if (bad is not null)
            throw bad;
    }
}
