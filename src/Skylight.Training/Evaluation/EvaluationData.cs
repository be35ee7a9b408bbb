using System.Globalization;
using System.IO.Hashing;
using System.Text;
using Skylight.Chat;
using Skylight.Text;
using Skylight.Training.Data;

namespace Skylight.Training.Evaluation;

/// <summary>
/// The questions of an evaluation, from the same files and in the same forms as examples to train on: see
/// <see cref="ExampleFiles"/>. Of a row with <c>question</c> the question is put as evaluations put it; of a row with
/// <c>messages</c> the conversation as it is, without the answer at its end.
/// </summary>
public static class EvaluationData
{
    private const int MostProblems = 10;

    /// <summary>Reads a file, and looks whether its pictures are there.</summary>
    /// <param name="path">The file, JSONL or Parquet, a folder of them, or a pattern; paths of pictures in it are
    /// relative to its folder, or absolute.</param>
    /// <param name="columns">Which column is which part; null to find them by their usual names.</param>
    /// <exception cref="InvalidDataException">Rows are wrong, or pictures missing; names up to ten of them with their
    /// lines or rows.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static IReadOnlyList<EvaluationItem> Load(string path, ColumnMap? columns = null) =>
        LoadAsync(path, columns).GetAwaiter().GetResult();

    /// <inheritdoc cref="Load"/>
    public static async Task<IReadOnlyList<EvaluationItem>> LoadAsync(string path, ColumnMap? columns = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var options = new ExampleOptions { Columns = columns ?? ColumnMap.Detected, Needs = ExampleNeeds.Answer };
        ExampleFiles source = await ExampleFiles.OpenAsync(path, options, cancellationToken).ConfigureAwait(false);
        // Pictures within the data set are not kept in memory but read again, so it stays open.
        bool staysOpen = false;
        try
        {
            var items = new List<EvaluationItem>();
            var placeOf = new Dictionary<string, string>(StringComparer.Ordinal);
            using var problems = new BadRows();
            for (long row = 0; row < source.Count; row++)
            {
                try
                {
                    TrainingExample example = await source.ReadAsync(row, cancellationToken).ConfigureAwait(false);
                    EvaluationItem item = Item(example, source, row);
                    if (!placeOf.TryAdd(item.Id, $"{example.Unit} {example.Row}"))
                        problems.Add(example,
                            $"the id '{item.Id}' is already that of {placeOf[item.Id]}; give every item its own.");
                    items.Add(item);
                    staysOpen |= example.Images.Any(image => image.IsEmbedded);
                }
                catch (BadRowException exception)
                {
                    problems.Add(exception.Row);
                }
            }

            if (problems.Count > 0)
                throw new InvalidDataException(Describe(path, problems));
            return items;
        }
        catch
        {
            staysOpen = false;
            throw;
        }
        finally
        {
            if (!staysOpen)
                source.Dispose();
        }
    }

    /// <summary>
    /// A hash of everything that the answers and scores of items depend on, with the sizes of their pictures.
    /// </summary>
    /// <returns>Hexadecimal digits.</returns>
    public static string Fingerprint(IReadOnlyList<EvaluationItem> items)
    {
        ArgumentNullException.ThrowIfNull(items);
        var hash = new XxHash128();
        foreach (EvaluationItem item in items)
        {
            Append(item.Id);
            Append(item.Question);
            Append(item.Hint ?? "");
            Append(item.Category ?? "");
            AppendAll(item.Answers);
            AppendAll(item.Options);
            if (item.SystemPrompt is not null)
                AppendAll(["system", item.SystemPrompt]);
            if (item.Conversation is not null)
                AppendAll([.. item.Conversation.SelectMany(
                    message => (string[])[message.Role.ToString(), ImagePlaces.Join(message.Parts)])]);
            // Not their paths: a data set that was moved is still the same.
            AppendAll([.. item.Images.Select(image => image.Length.ToString(CultureInfo.InvariantCulture))]);
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());

        void AppendAll(IReadOnlyList<string> texts)
        {
            Append(texts.Count.ToString(CultureInfo.InvariantCulture));
            foreach (string text in texts)
                Append(text);
        }

        // The length keeps "ab", "c" from being "a", "bc".
        void Append(string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            hash.Append(BitConverter.GetBytes(bytes.Length));
            hash.Append(bytes);
        }
    }

    /// <summary>
    /// The same example with pictures that are not held in memory but read from the data set again; a source that has
    /// any must stay open.
    /// </summary>
    internal static TrainingExample Light(TrainingExample example, ExampleFiles source, long row)
    {
        if (!example.Images.Any(image => image.IsEmbedded))
            return example;
        ExampleImage[] images = [.. example.Images.Select((image, place) => image.IsEmbedded
            ? ExampleImage.FromReader(image.Name, image.Length, async cancellationToken =>
                await (await source.ReadAsync(row, cancellationToken).ConfigureAwait(false))
                    .Images[place].ReadAsync(cancellationToken: cancellationToken).ConfigureAwait(false))
            : image)];
        int next = 0;
        return example with
        {
            Images = images,
            Messages = [
                .. example.Messages.Select(message =>
                    new Message(message.Role,
                        [.. message.Parts.Select(part => part is ImagePart ? Following(part) : part)]))],
        };

        // A picture may stand twice, so it is found by its name.
        MessagePart Following(MessagePart part)
        {
            string name = ((ImagePart)part).Name;
            int found = Array.FindIndex(images, Math.Min(next, images.Length - 1), image => image.Name == name);
            found = found >= 0 ? found : Array.FindIndex(images, image => image.Name == name);
            next = found + 1;
            return images[found].ToPart();
        }
    }

    internal static EvaluationItem Item(TrainingExample example, ExampleFiles source, long row)
    {
        example = Light(example, source, row);
        if (example.Question is not null)
        {
            return new EvaluationItem(example.Id, example.Question, example.Answers)
            {
                Options = example.Options,
                Images = example.Images,
                Category = example.Category,
                Hint = example.Hint,
                SystemPrompt = example.Messages[0] is { Role: ChatRole.System, Parts: [TextPart system] } ? system.Text
                    : null,
            };
        }

        return new EvaluationItem(example.Id,
            ImagePlaces.Join(example.Prompt.Last(message => message.Role == ChatRole.User).Parts), example.Answers)
        {
            Images = example.Images,
            Category = example.Category,
            Conversation = example.Prompt,
        };
    }

    private static string Describe(string path, BadRows problems)
    {
        // One file needs no name in each line.
        bool isOne = problems.Rows.All(row => row.File == path);
        string[] listed = [.. problems.Rows.Take(MostProblems)
            .Select(row => isOne ? $"{row.Unit} {row.Row}: {row.Reason}" : row.ToString())];
        return problems.Count == 1
            ? $"The data file '{path}' cannot be used: {listed[0]}"
            : $"The data file '{path}' cannot be used:\n  " +
                $"{string.Join("\n  ", listed)}{(problems.Count > MostProblems ? $"\n  and {problems.Count - MostProblems} more" : "")}";
    }
}
