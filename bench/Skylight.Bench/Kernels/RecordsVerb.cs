using Skylight.Workloads;

namespace Skylight.Bench.Kernels;

/// <summary>Keeps what a benchmark of kernels has measured better than before: bench/records.</summary>
internal static class RecordsVerb
{
    private const string Usage = "records [RESULTS.json --idea TEXT [--log FILE]] [--folder bench/records]";

    /// <summary>Adds the records of a file of results, and writes the table anew.</summary>
    /// <param name="arguments">What follows the verb.</param>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        string? results = null, idea = null, log = null, folder = null;
        for (int index = 0; index < arguments.Length; index++)
        {
            string? next = index + 1 < arguments.Length ? arguments[index + 1] : null;
            switch (arguments[index])
            {
                case "--idea" when next is not null:
                    (idea, index) = (next, index + 1);
                    break;
                case "--log" when next is not null:
                    (log, index) = (next, index + 1);
                    break;
                case "--folder" when next is not null:
                    (folder, index) = (next, index + 1);
                    break;
                case var argument when !argument.StartsWith('-') && results is null:
                    results = argument;
                    break;
                default:
                    return Refuse($"'{arguments[index]}' is not understood, or its value is missing.");
            }
        }

        if (results is null != idea is null || (results is null && log is not null))
            return Refuse("Results and --idea go together: what was measured, and what is new in it.");
        try
        {
            var records = new RecordFolder(folder ?? Path.Combine(BenchmarkReport.RepositoryRoot(), "bench", "records"));
            if (results is null)
            {
                records.WriteTable();
                return 0;
            }

            IReadOnlyList<MeasuredRecord> added = records.Add(results, idea!, log);
            foreach (MeasuredRecord record in added)
                Console.WriteLine(FormattableString.Invariant(
                    $"{record.Kernel}: {record.Figure:0.##} {record.Unit} on {record.Device}"));
            Console.WriteLine($"{added.Count} new records.");
            return 0;
        }
        catch (Exception exception)
            when (exception is IOException or UnauthorizedAccessException or InvalidDataException or ArgumentException)
        {
            Console.Error.WriteLine(exception.Message);
            return 1;
        }
    }

    private static int Refuse(string message)
    {
        Console.Error.WriteLine(message);
        Console.Error.WriteLine($"Usage: {Usage}");
        return 2;
    }
}
