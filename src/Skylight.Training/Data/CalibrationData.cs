using Skylight.Chat;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Training.Data;

/// <summary>
/// Token sequences to run a model on when it is quantised, from files of rows with a <c>text</c>, or of any form that
/// examples have (<see cref="ExampleFiles"/>), with their pictures.
/// </summary>
public static class CalibrationData
{
    private const string Text = "text";

    /// <summary>Reads the first rows of a file.</summary>
    /// <param name="path">JSONL or Parquet; a file, a folder of them, or a pattern.</param>
    /// <param name="configuration">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="samples">The most rows.</param>
    /// <param name="mostTokens">The most tokens of a sequence; longer ones are cut, unless they hold pictures.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="BadRowException">A row has no text, or cannot be read.</exception>
    /// <exception cref="InvalidDataException">There are no rows, or the file is neither JSONL nor Parquet.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="ContextLengthException">A conversation with pictures is longer than the context.</exception>
    public static async Task<IReadOnlyList<TokenSequence>> LoadAsync(string path, ModelConfiguration configuration,
        ITokenizer tokenizer, int samples, int mostTokens, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(configuration);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentOutOfRangeException.ThrowIfLessThan(samples, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(mostTokens, 1);
        var builder = new SampleBuilder(configuration, tokenizer);
        var reader = new ExampleReader(new ExampleOptions());
        using var cache = new ParquetGroupCache(1, ExampleFiles.MostGroupBytes);
        var sequences = new List<TokenSequence>();
        foreach (string name in DataFiles.Find([path]))
        {
            using IDataFile file = await DataFiles.OpenAsync(name, cache, cancellationToken).ConfigureAwait(false);
            for (long row = 0; row < file.Count && sequences.Count < samples; row++)
            {
                RowPlace place = file.PlaceOf(row);
                try
                {
                    StructValue values = await file.ReadAsync(row, cancellationToken).ConfigureAwait(false);
                    TokenSequence sequence = values[Text] is { } text ? Plain(text, tokenizer)
                        : await ConversationAsync(reader.Read(values, $"{Path.GetFileName(name)}:{place.Number}",
                            Path.GetDirectoryName(Path.GetFullPath(name))!), builder, cancellationToken).ConfigureAwait(false);
                    sequences.Add(sequence.Images.Count == 0 && sequence.Tokens.Length > mostTokens
                        ? sequence with { Tokens = sequence.Tokens[..mostTokens] } : sequence);
                }
                catch (Exception exception) when (exception is InvalidDataException or ConversationException)
                {
                    throw new BadRowException(new BadRow(name, place.Number, place.Unit, exception.Message), exception);
                }
            }
        }

        return sequences.Count > 0 ? sequences : throw new InvalidDataException(
            $"The calibration data '{path}' has no rows: give one JSON object a line, with a 'text' or with 'messages'.");
    }

    private static TokenSequence Plain(DataValue value, ITokenizer tokenizer)
    {
        if (value is not TextValue { Text: var text } || string.IsNullOrWhiteSpace(text))
            throw new InvalidDataException(
                $"has {(value is TextValue ? "an empty text" : value.Kind)} in '{Text}', where a text is expected.");
        return new TokenSequence(tokenizer.Encode(text));
    }

    private static async Task<TokenSequence> ConversationAsync(TrainingExample example, SampleBuilder builder,
        CancellationToken cancellationToken) => example.Messages[^1].Role == ChatRole.Assistant
        ? (await builder.SampleAsync(example.Messages, cancellationToken).ConfigureAwait(false)).Sequence
        : (await builder.PromptAsync(example.Messages, cancellationToken).ConfigureAwait(false)).Sequence;
}
