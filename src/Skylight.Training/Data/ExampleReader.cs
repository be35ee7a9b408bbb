using System.Globalization;
using Skylight.Chat;
using Skylight.Text;
using Skylight.Training.Evaluation;

namespace Skylight.Training.Data;

/// <summary>
/// Makes an example of a row, whatever its form: a conversation, a question with an answer, or a pair of answers.
/// </summary>
/// <param name="options">How rows are read.</param>
internal sealed class ExampleReader(ExampleOptions options)
{
    private const string NumberedImages = "image_";

    /// <summary>Reads a row.</summary>
    /// <param name="row">Its columns.</param>
    /// <param name="name">Its file and place: what it is called where it has no id.</param>
    /// <param name="folder">The folder of its file.</param>
    /// <exception cref="InvalidDataException">It cannot be used: why, as the end of a sentence.</exception>
    public TrainingExample Read(StructValue row, string name, string folder)
    {
        var columns = new RowColumns(row, options.Columns);
        string id = columns.Find(ColumnMap.Id) is { } given ? Text(given) : name;
        if (string.IsNullOrWhiteSpace(id))
            throw new InvalidDataException("has an empty 'id'.");
        var pictures = new PictureReader(options.ImageFolder ?? folder, name);
        var conversations = new ConversationReader(pictures);
        (IReadOnlyList<ExampleImage?> images, bool mayBeUnused) = Images(columns, pictures);
        var draft = new Draft(columns, conversations) { Images = images, MayBeUnused = mayBeUnused };
        TrainingExample example = Prompt(draft, id);
        example = AnswersOf(example, draft);
        Check(example, columns);
        return example with
        {
            Category = columns.Find(ColumnMap.Category) is { } category ? Text(category) : null,
            Difficulty = Difficulty(columns),
            Columns = columns.Rest(),
        };
    }

    /// <summary>Answers as they are written in a column.</summary>
    internal static IReadOnlyList<string> Answers((string Column, DataValue Value) answer)
    {
        IReadOnlyList<string> texts = Texts(answer);
        // Several accepted answers, as MMMU has them.
        if (answer.Value is TextValue text && PythonList.TryParse(text.Text, out IReadOnlyList<string>? items,
            out bool areStrings) && areStrings && items.Count > 0)
            texts = items;
        if (texts.Any(string.IsNullOrWhiteSpace))
            throw new InvalidDataException($"has an empty '{answer.Column}'.");
        return [.. texts.Select(AnswerSource.Extract)];
    }

    private TrainingExample Prompt(Draft draft, string id)
    {
        RowColumns columns = draft.Columns;
        (string Column, DataValue Value)? prompt = columns.Find(ColumnMap.Prompt),
            chosen = columns.Find(ColumnMap.Chosen), rejected = columns.Find(ColumnMap.Rejected);
        List<DraftTurn> turns;
        string? question = null;
        if (prompt is null)
        {
            // TRL's implicit prompt: what both conversations begin with.
            if (chosen?.Value is not ListValue)
                throw new InvalidDataException(
                    $"has no 'question' and no 'messages': none of the columns " +
                    $"{RowColumns.NamesOf(ColumnMap.Prompt)}; its columns are {columns.Columns()}. Name the " +
                    $"one (columns: prompt=…).");
            turns = draft.Conversations.Read(chosen.Value.Value, chosen.Value.Column);
            turns = [.. turns.Take(Math.Max(0, turns.Count - 1))];
        }
        else if (prompt.Value.Value is ScalarValue scalar && prompt.Value.Column is not ("messages" or "conversations"))
        {
            question = scalar.Text;
            turns = [new DraftTurn(ChatRole.User, question)];
        }
        else if (prompt.Value.Value is ListValue or StructValue
            && (prompt.Value.Value is ListValue || ((StructValue)prompt.Value.Value).Has("role")))
        {
            turns = draft.Conversations.Read(prompt.Value.Value, prompt.Value.Column);
        }
        else
        {
            throw new InvalidDataException(
                $"has {prompt.Value.Value.Kind} in '{prompt.Value.Column}', where " +
                $"{(prompt.Value.Column is "messages" or "conversations" ? "a list of messages" : "a text or a list of messages")} is expected.");
        }

        if (question is not null && columns.Peek("history") is ListValue { Items.Count: > 0 })
            throw new InvalidDataException(
                "has a 'history' of earlier turns, which is not read: write all turns as 'messages'.");
        if (columns.Find(ColumnMap.System) is { } system && Text(system) is { Length: > 0 } said)
        {
            if (turns.Any(turn => turn.Role == ChatRole.System))
                throw new InvalidDataException(
                    $"has a system message both in '{system.Column}' and in its conversation; take one out.");
            turns.Insert(0, new DraftTurn(ChatRole.System, said));
        }

        AddResponse(draft, turns, ref chosen, rejected);
        (string? better, string? worse) = (Preferred(chosen, turns, draft), Preferred(rejected, turns, draft));
        TrainingExample example = question is null ? Conversation(draft, id, turns) : Question(draft, id, turns, question);
        return example with { Chosen = better, Rejected = worse };
    }

    /// <summary>
    /// Adds what the assistant says, where a column of its own has it; ms-swift's rejected response stands against the
    /// conversation's last turn.
    /// </summary>
    private static void AddResponse(Draft draft, List<DraftTurn> turns, ref (string Column, DataValue Value)? chosen,
        (string Column, DataValue Value)? rejected)
    {
        if (draft.Columns.Find(ColumnMap.Response) is { } response)
        {
            if (turns.Count > 0 && turns[^1].Role == ChatRole.Assistant)
                throw new InvalidDataException(
                    $"has an answer of the assistant both at the end of its conversation and in '{response.Column}'; " +
                    $"take one out.");
            if (response.Value is ListValue or StructValue)
                turns.AddRange(Answer(draft.Conversations.Read(response.Value, response.Column), response.Column));
            else
                turns.Add(new DraftTurn(ChatRole.Assistant, Text(response)));
        }

        if (rejected is not null && chosen is null && turns.Count > 0 && turns[^1].Role == ChatRole.Assistant)
        {
            chosen = ("messages", new TextValue(turns[^1].Text));
            turns.RemoveAt(turns.Count - 1);
        }
    }

    private static List<DraftTurn> Answer(List<DraftTurn> turns, string column) => turns is [{ Role: ChatRole.Assistant }]
        ? turns : throw new InvalidDataException($"has in '{column}' something else than one message of the assistant.");

    /// <summary>The text of an answer of a pair: a text, or a conversation that goes on from the prompt.</summary>
    private static string? Preferred((string Column, DataValue Value)? answer, List<DraftTurn> prompt, Draft draft)
    {
        if (answer is not { } given)
            return null;
        if (given.Value is ScalarValue text)
            return text.Text;
        int pictures = draft.Conversations.Inline.Count;
        List<DraftTurn> turns = draft.Conversations.Read(given.Value, given.Column);
        // The pictures of a prompt that is told again.
        draft.Conversations.Inline.RemoveRange(pictures, draft.Conversations.Inline.Count - pictures);
        if (turns.Count == 0 || turns[^1].Role != ChatRole.Assistant)
            throw new InvalidDataException(
                $"has in '{given.Column}' a conversation that does not end with an answer of the assistant.");
        if (turns.Count > 1 && !turns.SkipLast(1)
            .SequenceEqual(prompt.Where(turn => turn.Role != ChatRole.System || turns[0].Role == ChatRole.System)))
            throw new InvalidDataException(
                $"has in '{given.Column}' a conversation that does not begin as its prompt does.");
        return turns[^1].Text;
    }

    private static TrainingExample Conversation(Draft draft, string id, List<DraftTurn> turns)
    {
        int[] fromUser = [.. turns.Index().Where(turn => turn.Item.Role == ChatRole.User).Select(turn => turn.Index)];
        (string[] texts, ExampleImage[] images) = ImagePlaces.Number([.. fromUser.Select(turn => turns[turn].Text)],
            draft.AllImages(), draft.MayBeUnused);
        bool arePlaced = texts.Any(ImagePlaces.IsIn);
        var messages = new Message[turns.Count];
        for (int turn = 0; turn < turns.Count; turn++)
        {
            int place = Array.IndexOf(fromUser, turn);
            if (place < 0)
                messages[turn] = new Message(turns[turn].Role, turns[turn].Text);
            else if (place == 0 && !arePlaced)
                messages[turn] = new Message(ChatRole.User,
                    [.. images.Select(image => image.ToPart()), .. texts[0].Length > 0 ? [new TextPart(texts[0])]
                        : Array.Empty<MessagePart>()]);
            else
                messages[turn] = new Message(ChatRole.User, ImagePlaces.Split(texts[place], images));
        }

        return new TrainingExample(id, messages) { Images = images };
    }

    private static TrainingExample Question(Draft draft, string id, List<DraftTurn> turns, string question)
    {
        RowColumns columns = draft.Columns;
        string[] options = [.. Options(columns)];
        string? hint = columns.Find(ColumnMap.Hint) is { } said && Text(said) is { } clue
            && !string.IsNullOrWhiteSpace(clue) ? clue : null;
        (string[] texts, ExampleImage[] images) = ImagePlaces.Number([hint ?? "", question, .. options],
            draft.AllImages(), draft.MayBeUnused);
        if (string.IsNullOrWhiteSpace(question) && images.Length == 0)
            throw new InvalidDataException("has no 'question': it is empty.");
        if (hint is not null)
            hint = texts[0];
        options = texts[2..];
        // A question alone is put as it is; with options, as evaluations put it.
        string text = options.Length == 0 && hint is null ? texts[1]
            : MmmuPrompt.Text(new EvaluationItem(id, texts[1], []) { Options = options, Hint = hint });
        List<MessagePart> parts = ImagePlaces.Split(text, images);
        if (!texts.Any(ImagePlaces.IsIn))
            parts.InsertRange(0, images.Select(image => image.ToPart()));
        return new TrainingExample(id,
            [.. turns.Select(turn => turn.Role == ChatRole.User ? new Message(ChatRole.User, parts)
                : new Message(turn.Role, turn.Text))])
        {
            Question = texts[1],
            Hint = hint,
            Options = options,
            Images = images,
        };
    }

    private TrainingExample AnswersOf(TrainingExample example, Draft draft)
    {
        if (draft.Columns.Find(ColumnMap.Answer) is not { } answer)
            return example;
        IReadOnlyList<string> answers = Answers(answer);
        if (example.Options.Count > 0 && answers.Count > 1)
            throw new InvalidDataException($"has options and {answers.Count} answers; a question with options has one.");
        if (example.Options.Count > 0)
            answers = [.. answers.Select(text => AnswerSource.LetterOf(text, example.Options))];
        example = example with { Answers = answers };
        bool isAnswered = example.Messages is [.., { Role: ChatRole.Assistant }];
        return options.Needs.HasFlag(ExampleNeeds.Response) && !isAnswered && Texts(answer) is [var written, ..]
            ? example with { Messages = [.. example.Messages, Message.Assistant(written)] } : example;
    }

    private void Check(TrainingExample example, RowColumns columns)
    {
        if (!example.Messages.Any(message => message.Role == ChatRole.User))
            throw new InvalidDataException("has no turn of the user.");
        if (example.Messages.Skip(1).Any(message => message.Role == ChatRole.System))
            throw new InvalidDataException("has a system message that is not the first.");
        if (options.Needs.HasFlag(ExampleNeeds.Answer) && example.Answers.Count == 0)
            throw new InvalidDataException(
                $"has no 'answer' to compare with: none of the columns {RowColumns.NamesOf(ColumnMap.Answer)}; its " +
                $"columns are {columns.Columns()}. Give a letter, a text, or a list of accepted texts, or name " +
                $"the column (columns: answer=…).");
        if (options.Needs.HasFlag(ExampleNeeds.Response) && example.Messages[^1] is not { Role: ChatRole.Assistant })
            throw new InvalidDataException(
                $"has no answer of the assistant to learn from: neither at the end of its conversation nor in one of " +
                $"the columns {RowColumns.NamesOf(ColumnMap.Response)}.");
        if (options.Needs.HasFlag(ExampleNeeds.Response)
            && example.Messages[^1].Parts.OfType<TextPart>().All(part => string.IsNullOrWhiteSpace(part.Text)))
            throw new InvalidDataException("has an empty answer of the assistant.");
        if (options.Needs.HasFlag(ExampleNeeds.Preference) && (example.Chosen is null || example.Rejected is null))
            throw new InvalidDataException(
                $"has no {(example.Chosen is null ? "'chosen'" : "'rejected'")} answer; its columns are " +
                $"{columns.Columns()}.");
        if (options.Needs.HasFlag(ExampleNeeds.Preference) && example.Messages[^1].Role != ChatRole.User)
            throw new InvalidDataException("has a prompt that does not end with the user's turn.");
    }

    private (IReadOnlyList<ExampleImage?> Images, bool MayBeUnused) Images(RowColumns columns, PictureReader pictures)
    {
        string? named = options.Columns[ColumnMap.Images];
        string beginning = named is not null && named.EndsWith('*') ? named[..^1] : NumberedImages;
        SortedDictionary<int, (string Column, DataValue? Value)> numbered = named is null
            || named.EndsWith('*') ? columns.Numbered(beginning) : [];
        (string Column, DataValue Value)? column = named is null
            || !named.EndsWith('*') ? columns.Find(ColumnMap.Images) : null;
        if (column is { } one)
        {
            if (numbered.Values.Any(value => value.Value is not null))
                throw new InvalidDataException(
                    $"has both '{one.Column}' and '{numbered.First().Value.Column}'; name the one with its pictures " +
                    $"(columns: images={one.Column}, or images={beginning}*).");
            return (pictures.ReadAll(one.Value, one.Column), false);
        }

        if (numbered.Count == 0)
            return ([], false);
        if (numbered.Keys.Last() > 1000)
            throw new InvalidDataException(
                $"has a column '{numbered.Values.Last().Column}'; pictures are numbered to 1000 at most.");
        var images = new ExampleImage?[numbered.Keys.Last()];
        foreach ((int number, (string name, DataValue? value)) in numbered)
            images[number - 1] = pictures.Read(value, name);
        return (images, true);
    }

    private static IEnumerable<string> Options(RowColumns columns)
    {
        if (columns.Find(ColumnMap.Options) is not { } found)
            return [];
        if (found.Value is StructValue letters)
        {
            var list = new List<string>();
            foreach ((string name, DataValue? value) in letters.Fields.Where(field => field.Value is not null))
            {
                if (list.Count >= 26 || name != EvaluationItem.Letter(list.Count).ToString())
                    throw new InvalidDataException(
                        $"has an option '{name}' where " +
                        $"{(list.Count < 26 ? EvaluationItem.Letter(list.Count) : "none")} would be next; " +
                        $"letters go from A without a gap.");
                list.Add(Text((found.Column, value!)));
            }

            return Checked(list);
        }

        if (found.Value is not TextValue text)
            return Checked(Texts(found));
        if (string.IsNullOrWhiteSpace(text.Text))
            return [];
        return PythonList.TryParse(text.Text, out IReadOnlyList<string>? items, out _)
            ? Checked(items)
            : throw new InvalidDataException(
                $"has in '{found.Column}' a text that is no list; write a list, or a text such as ['one', 'two'].");

        static IReadOnlyList<string> Checked(IReadOnlyList<string> options) => options.Any(string.IsNullOrWhiteSpace)
            ? throw new InvalidDataException("has an empty option.")
            : options.Count > 26
            ? throw new InvalidDataException($"has {options.Count} options; at most 26 have a letter.") : options;
    }

    private double? Difficulty(RowColumns columns)
    {
        if (columns.Find(ColumnMap.Difficulty) is not { } found)
            return null;
        if (found.Value is ScalarValue scalar && double.TryParse(scalar.Text, NumberStyles.Float,
            CultureInfo.InvariantCulture, out double number) && double.IsFinite(number))
            return number;
        throw new InvalidDataException(
            $"has {(found.Value is TextValue text ? $"'{text.Text}'" : found.Value.Kind)} in '{found.Column}', where " +
            $"a number is expected{(options.Columns[ColumnMap.Difficulty] is null ? "; rename the column if it is no measure of difficulty" : "")}.");
    }

    private static string Text((string Column, DataValue Value) found) => found.Value is ScalarValue scalar
        ? scalar.Text
        : throw new InvalidDataException($"has {found.Value.Kind} in '{found.Column}', where a text is expected.");

    /// <summary>A text, or a list of them.</summary>
    private static IReadOnlyList<string> Texts((string Column, DataValue Value) found) => found.Value is ListValue list
        ? [.. list.Items.Select(item => item is ScalarValue scalar ? scalar.Text
            : throw new InvalidDataException(
                $"has {DataValue.Describe(item)} in '{found.Column}', where a text is expected."))]
        : [Text(found)];

    /// <summary>What is known of a row while its example is made.</summary>
    private sealed record Draft(RowColumns Columns, ConversationReader Conversations)
    {
        public required IReadOnlyList<ExampleImage?> Images { get; init; }

        public required bool MayBeUnused { get; init; }

        /// <summary>The pictures of the conversation's own parts, else those of the columns.</summary>
        public IReadOnlyList<ExampleImage?> AllImages()
        {
            if (Conversations.Inline.Count == 0)
                return Images;
            return Images.Any(image => image is not null)
                ? throw new InvalidDataException(
                    "has pictures both in a column and within its messages; take one of them out.") : Conversations.Inline;
        }
    }
}
