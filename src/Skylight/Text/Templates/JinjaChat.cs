using System.Text;
using System.Text.Json;

namespace Skylight.Text.Templates;

/// <summary>
/// Turns chats into prompts by a checkpoint's own template. What users write never becomes a special token: where it is
/// spelled like one, a character that no text may have is put into it before the template sees it, and taken out before
/// the text is encoded.
/// </summary>
internal sealed class JinjaChat
{
    /// <summary>How a message says what it holds.</summary>
    private enum ContentForm
    {
        /// <summary>A text; the places of pictures are marked in it.</summary>
        Text,

        /// <summary>A text, and where there are pictures a list of parts.</summary>
        PartsForPictures,

        /// <summary>Always a list of parts.</summary>
        Parts,
    }

    // Unicode's own characters for programs, which no text has; should one have them, the next is taken.
    private const char FirstGuard = '\uFDD0', LastGuard = '\uFDEF';

    private const string Probe = "Probe of the template.";

    // Far more than any template needs: some hundred for a turn. One more for each character, so that texts may be gone
    // through some dozen times.
    private const long StepsOfAChat = 20_000, StepsOfATurn = 4_000;

    // What templates write for a picture, the longer ones first.
    private static readonly string[] s_pictures =
        ["<|vision_start|><|image_pad|><|vision_end|>", "<img><IMG_CONTEXT></img>", "<img><image></img>",
            SpecialTokens.ImageContext, "<image>", "<|image_pad|>"];

    private static readonly string[] s_thinkTags = [SpecialTokens.ThinkStart, SpecialTokens.ThinkEnd];

    private readonly JinjaTemplate _template;
    private readonly Dictionary<string, object?> _names;
    private readonly ContentForm _form;

    /// <summary>Reads a template and tries it.</summary>
    /// <param name="source">The template.</param>
    /// <param name="tokens">Names of special tokens, such as <c>bos_token</c>, with their spellings.</param>
    /// <exception cref="TemplateException">It cannot be read, or not rendered for the simplest of chats.</exception>
    public JinjaChat(string source, IReadOnlyDictionary<string, string> tokens)
    {
        _template = JinjaTemplate.Parse(source);
        _names = tokens.ToDictionary(token => token.Key, token => (object?)token.Value, StringComparer.Ordinal);
        _form = FormOf();
        TakesTools = WritesTools();
        // Every branch that a chat of ours can reach shows here what it cannot do.
        foreach (ChatTurn[] chat in Probes)
        {
            foreach (bool? thinking in (bool?[])[null, true, false])
            {
                try
                {
                    Spell(chat, thinking, true, []);
                }
                catch (TemplateException exception) when (exception.IsRefusal)
                {
                    // Some templates want no system message, or another order: who sends such a chat is told.
                }
            }
        }
    }

    /// <summary>The template's text.</summary>
    public string Source => _template.Source;

    /// <summary>
    /// Whether the template writes tools, calls and what tools gave in Qwen's form. For one that does not, they are
    /// written into messages.
    /// </summary>
    public bool TakesTools { get; }

    /// <summary>Whether the template has a switch for thinking.</summary>
    public bool SwitchesThinking => Source.Contains("enable_thinking", StringComparison.Ordinal);

    /// <summary>Chats that show how a template writes what there can be.</summary>
    public static IReadOnlyList<ChatTurn[]> Probes { get; } =
    [
        [ChatTurn.User(Probe)],
        [ChatTurn.System("Be brief."), ChatTurn.User(Probe)],
        [ChatTurn.User("1+1?"), ChatTurn.Assistant("2"), ChatTurn.User(Probe)],
        [ChatTurn.System("Be brief."), ChatTurn.User("1+1?"), ChatTurn.Assistant("<think>\nHm.\n</think>\n\n2"),
            ChatTurn.User(Probe)],
        [ChatTurn.User(new ChatImage(1), new ChatText(Probe))],
        [ChatTurn.User(new ChatText("Compare "), new ChatImage(2), new ChatText(" with "), new ChatImage(1),
            new ChatText("."))],
    ];

    /// <summary>A chat in which a tool was called, for <see cref="ProbeTools"/>.</summary>
    public static ChatTurn[] ToolProbe { get; } =
    [
        ChatTurn.System("Be brief."), ChatTurn.User("1+1?"),
        new(ChatRole.Assistant, [new ChatText("Let me see."), new ChatToolCall("probe_tool", """{"a": 1}"""),
            new ChatToolCall("probe_tool", """{"a": "b"}""")]),
        new(ChatRole.Tool, [new ChatText("probe_result")]), new(ChatRole.Tool, [new ChatText("another")]),
    ];

    /// <summary>What can be called in <see cref="ToolProbe"/>.</summary>
    public static JsonElement[] ProbeTools { get; } =
    [
        JsonText.ParseElement("""
            {"type": "function", "function": {"name": "probe_tool", "description": "d", "parameters": {"type": "object"}}}
            """u8.ToArray()),
    ];

    /// <summary>A prompt as text, with its special tokens and pictures spelled out.</summary>
    public string Spell(IReadOnlyList<ChatTurn> turns, bool? thinking, bool keepsThinking,
        IReadOnlyList<JsonElement> tools)
    {
        Guards guards = GuardsFor(turns, [], tools);
        var text = new StringBuilder();
        int picture = 0;
        int[] pictures = PicturesOf(turns);
        Walk(Render(turns, thinking, keepsThinking, guards, tools: tools), guards, [], [], pictures.Length,
            character => text.Append(character), special => text.Append(special), () =>
        {
            // A template may write a message twice; who sends a picture by it is told.
            int tokens = picture < pictures.Length ? pictures[picture++] : 0;
            text.Append(SpecialTokens.ImageStart).Insert(text.Length, SpecialTokens.ImageContext, tokens)
                .Append(SpecialTokens.ImageEnd);
        }, _ => { });
        return text.ToString();
    }

    /// <summary>Whether prompts end within a think block.</summary>
    public bool OpensThinking(bool? thinking)
    {
        try
        {
            return IsOpen(Spell([ChatTurn.User(Probe)], thinking, keepsThinking: false, []));
        }
        catch (TemplateException exception) when (exception.IsRefusal)
        {
            return false;
        }
    }

    /// <summary>As <see cref="ChatTemplate.Apply"/>, for turns that were checked.</summary>
    public ChatPrompt Apply(ChatTemplate.Writer writer, ITokenizer tokenizer, IReadOnlyList<ChatTurn> turns,
        bool? thinking, bool keepsThinking, IReadOnlyList<JsonElement> tools)
    {
        string begun = "";
        if (turns[^1] is { Role: ChatRole.Assistant } last)
        {
            begun = TextOf(last);
            turns = [.. turns.SkipLast(1)];
        }

        string[] spellings = Spellings(tokenizer);
        Guards guards = GuardsFor(turns, spellings, tools, begun);
        string text = turns.Count == 0
            ? throw new ArgumentException("A chat for a template of a checkpoint needs a turn before the answer.",
                nameof(turns)) : Render(turns, thinking, keepsThinking, guards, tools: tools);
        text = Continue(text, guards.InAnswer(begun));
        Write(writer, text, guards, spellings, turns, []);
        return new ChatPrompt(writer.Finish(), IsOpen(text), writer.ImageTokenCount);
    }

    /// <summary>
    /// As <see cref="ChatTemplate.ApplyWithAnswers"/>, for turns that were checked and end with an answer.
    /// </summary>
    public ChatTranscript ApplyWithAnswers(ChatTemplate.Writer writer, ITokenizer tokenizer,
        IReadOnlyList<ChatTurn> turns, bool? thinking, bool keepsThinking)
    {
        string[] spellings = Spellings(tokenizer);
        Guards guards = GuardsFor(turns, spellings, []);
        ChatTurn[] prompt = [.. turns.SkipLast(1)];
        string text = Render(prompt, thinking, keepsThinking, guards), answer = TextOf(turns[^1]);
        if (IsOpen(text) && !answer.Contains(SpecialTokens.ThinkEnd, StringComparison.Ordinal))
            throw new ArgumentException(
                $"The answer in turn {turns.Count - 1} of the chat has no {SpecialTokens.ThinkEnd}, but its prompt " +
                $"opens a think block: give the answer with its thinking " +
                $"({SpecialTokens.ThinkStart}…{SpecialTokens.ThinkEnd}), or let the template not think.", nameof(turns));
        var places = new List<(int Start, int End)>();
        for (int turn = 0; turn < prompt.Length; turn++)
        {
            if (prompt[turn].Role == ChatRole.Assistant)
                places.Add(PlaceOf(text, turn == 0 ? "" : Render(prompt[..turn], thinking, keepsThinking, guards), turn));
        }

        int start = text.Length;
        text = Continue(text, guards.InAnswer(answer)) + SpecialTokens.TurnEnd;
        places.Add((start, text.Length));
        int[] cuts = Write(writer, text, guards, spellings, prompt,
            [.. places.SelectMany(place => new[] { place.Start, place.End })]);
        writer.Text("\n");
        int[] tokens = writer.Finish();
        return new ChatTranscript(tokens, [.. cuts.Chunk(2).Select(pair => (pair[0], pair[1]))], writer.ImageTokenCount);
    }

    /// <summary>
    /// Where an earlier answer is: it begins where its own prompt ends, as far as the template writes both alike.
    /// </summary>
    private static (int Start, int End) PlaceOf(string text, string prompt, int turn)
    {
        int common = 0;
        while (common < Math.Min(text.Length, prompt.Length) && text[common] == prompt[common])
            common++;
        int least = prompt.LastIndexOf(SpecialTokens.TurnStart, StringComparison.Ordinal),
            end = text.IndexOf(SpecialTokens.TurnEnd, common, StringComparison.Ordinal);
        if (least < 0 || common < least + SpecialTokens.TurnStart.Length || end < 0)
            throw new ArgumentException(
                $"The checkpoint's chat template writes the answer in turn {turn} of a longer chat in another place " +
                $"than its prompt has it, so that it cannot be learnt: give chats with one answer, or use a " +
                $"built-in template.", "turns");
        return (common, end + SpecialTokens.TurnEnd.Length);
    }

    /// <summary>A prompt with what the answer begins with; the tag that opens a think block is there once.</summary>
    private static string Continue(string prompt, string begun)
    {
        if (!begun.StartsWith(SpecialTokens.ThinkStart, StringComparison.Ordinal) || !IsOpen(prompt))
            return prompt + begun;
        string rest = begun[SpecialTokens.ThinkStart.Length..];
        return prompt + (prompt.EndsWith('\n') && rest.StartsWith('\n') ? rest[1..] : rest);
    }

    private static bool IsOpen(string text)
    {
        string last = text[Math.Max(0, text.LastIndexOf(SpecialTokens.TurnStart, StringComparison.Ordinal))..];
        return last.LastIndexOf(SpecialTokens.ThinkStart, StringComparison.Ordinal) > last.LastIndexOf(
            SpecialTokens.ThinkEnd, StringComparison.Ordinal);
    }

    private ContentForm FormOf()
    {
        ChatTurn[] text = [ChatTurn.User(Probe)], picture = [ChatTurn.User(new ChatImage(1), new ChatText(Probe))];
        Guards guards = GuardsFor(picture, [], []);
        TemplateException? fault = null;
        bool takesText = Holds(text, ContentForm.Text), takesParts = Holds(picture, ContentForm.Parts);
        if (takesText && takesParts)
            return ContentForm.PartsForPictures;
        if (takesText && Holds(picture, ContentForm.Text))
            return ContentForm.Text;
        if (takesParts && Holds(text, ContentForm.Parts))
            return ContentForm.Parts;
        throw fault ?? new TemplateException(new TemplatePlace(1, 1),
            "the template writes neither the text of a message nor its parts.");

        bool Holds(ChatTurn[] chat, ContentForm form)
        {
            try
            {
                string rendered = Render(chat, null, true, guards, form);
                int pictures = 0;
                Walk(rendered, guards, [], [], most: 2, _ => { }, _ => { }, () => pictures++, _ => { });
                return rendered.Contains(Probe, StringComparison.Ordinal) && pictures == (chat == picture ? 1 : 0);
            }
            catch (TemplateException exception)
            {
                fault ??= exception;
                return false;
            }
        }
    }

    private string Render(IReadOnlyList<ChatTurn> turns, bool? thinking, bool keepsThinking, Guards guards,
        ContentForm? form = null, IReadOnlyList<JsonElement>? tools = null)
    {
        var names = new Dictionary<string, object?>(_names, StringComparer.Ordinal)
        {
            ["messages"] = turns.Select(turn => (object?)MessageOf(turn, keepsThinking, guards, form ?? _form)).ToList(),
            ["add_generation_prompt"] = true,
            ["tools"] = tools is { Count: > 0 }
                ? tools.Select(tool => guards.InJson(TemplateValue.FromJson(tool))).ToList() : null,
            ["documents"] = null,
        };
        if (thinking is { } value)
            names["enable_thinking"] = value;
        return _template.Render(names, mostSteps: (int)Math.Min(TemplateRun.MostSteps,
            StepsOfAChat + StepsOfATurn * (turns.Count + (tools?.Count ?? 0)) + turns.Sum(LengthOf)
                + (tools ?? []).Sum(tool => (long)tool.GetRawText().Length)));
    }

    private Dictionary<string, object?> MessageOf(ChatTurn turn, bool keepsThinking, Guards guards, ContentForm form)
    {
        // What tools give is a text to templates; the places of pictures are marked in it.
        if (turn.Role == ChatRole.Tool && form == ContentForm.PartsForPictures)
            form = ContentForm.Text;
        var message = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["role"] = turn.Role switch
            {
                ChatRole.System => "system",
                ChatRole.User => "user",
                ChatRole.Tool => "tool",
                _ => "assistant",
            },
            ["content"] = Content(turn, keepsThinking, guards, form),
        };
        if (TakesTools && turn.Parts.OfType<ChatToolCall>().ToArray() is { Length: > 0 } calls)
            message["tool_calls"] = calls.Select(call => (object?)new Dictionary<string, object?>(StringComparer.Ordinal)
            {
                ["type"] = "function",
                ["function"] = new Dictionary<string, object?>(StringComparer.Ordinal)
                {
                    ["name"] = guards.InText(call.Name),
                    ["arguments"] = guards.InJson(TemplateValue.FromJson(ArgumentsOf(call))),
                },
            }).ToList();
        return message;
    }

    private bool WritesTools()
    {
        if (!Source.Contains("tools", StringComparison.Ordinal)
            || !Source.Contains(SpecialTokens.ToolCallStart, StringComparison.Ordinal))
            return false;
        try
        {
            string text = Spell(ToolProbe, null, true, ProbeTools);
            return text.Contains("probe_tool", StringComparison.Ordinal)
                && text.Contains("probe_result", StringComparison.Ordinal);
        }
        catch (TemplateException)
        {
            return false;
        }
    }

    private object? Content(ChatTurn turn, bool keepsThinking, Guards guards, ContentForm form)
    {
        if (turn.Role == ChatRole.Assistant)
        {
            // A template that knows of thinking takes it out itself.
            string answer = TextOf(turn);
            bool takesOut = !keepsThinking && !Source.Contains(SpecialTokens.ThinkEnd, StringComparison.Ordinal);
            answer = guards.InAnswer(takesOut ? ChatTemplate.WithoutThinking(answer) : answer);
            if (!TakesTools)
            {
                foreach (ChatToolCall call in turn.Parts.OfType<ChatToolCall>())
                    answer += (answer.Length == 0 ? "" : "\n") + SpecialTokens.ToolCallStart
                        + guards.InText(ToolTurns.Spell(call)) + SpecialTokens.ToolCallEnd;
            }

            return form == ContentForm.Parts ? (List<object?>)[TextPart(answer)] : answer;
        }

        bool hasPictures = turn.Parts.Any(part => part is ChatImage);
        if (form == ContentForm.Text || form == ContentForm.PartsForPictures && !hasPictures)
            return string.Concat(turn.Parts.Select(part => Spelling(part) ?? $"{guards.Picture}\n"));
        return turn.Parts.Select(part => Spelling(part) is { } text ? TextPart(text)
            : new Dictionary<string, object?>(StringComparer.Ordinal) { ["type"] = "image" }).ToList<object?>();

        string? Spelling(ChatPart part) => part switch
        {
            ChatText text => guards.InText(text.Text),
            ChatTag tag => tag.Spelling,
            _ => null,
        };

        static Dictionary<string, object?> TextPart(string text) =>
            new(StringComparer.Ordinal) { ["type"] = "text", ["text"] = text };
    }

    /// <summary>Writes a rendered text as tokens.</summary>
    /// <returns>The numbers of tokens at the places to cut, which ascend.</returns>
    private static int[] Write(ChatTemplate.Writer writer, string text, Guards guards, string[] spellings,
        IReadOnlyList<ChatTurn> turns, int[] cuts)
    {
        int[] pictures = PicturesOf(turns);
        int picture = 0;
        var places = new List<int>();
        Walk(
            text, guards, spellings, cuts, pictures.Length, character => writer.Text(character), special =>
                writer.Special(special), () =>
                {
                    if (picture++ < pictures.Length)
                        writer.Image(pictures[picture - 1]);
                }, _ => places.Add(writer.Cut()));
        if (picture != pictures.Length)
            throw new ArgumentException(
                $"The checkpoint's chat template has written {picture} places for {pictures.Length} pictures: use a " +
                $"built-in template.", nameof(turns));
        return [.. places];
    }

    /// <summary>Goes through a rendered text: plain characters, special tokens, places of pictures, and cuts.</summary>
    private static void Walk(
        string text, Guards guards, string[] spellings, int[] cuts, int most, Action<char> plain,
        Action<string> special, Action picture, Action<int> cut)
    {
        ILookup<char, string> byFirst = spellings.OrderByDescending(spelling => spelling.Length)
            .ToLookup(spelling => spelling[0]);
        int next = 0;
        for (int at = 0; at <= text.Length;)
        {
            for (; next < cuts.Length && cuts[next] == at; next++)
                cut(at);
            if (at == text.Length)
                break;
            char character = text[at];
            if (character == guards.Picture
                || character == '<' && most > 0 && s_pictures.Any(place => text.AsSpan(at).StartsWith(place)))
            {
                at += character == guards.Picture ? 1 : s_pictures.First(place => text.AsSpan(at).StartsWith(place)).Length;
                most--;
                picture();
            }
            else if (byFirst[character].FirstOrDefault(spelling => text.AsSpan(at).StartsWith(spelling)) is { } found)
            {
                special(found);
                at += found.Length;
            }
            else
            {
                if (character != guards.Guard)
                    plain(character);
                at++;
            }
        }
    }

    private static int[] PicturesOf(IReadOnlyList<ChatTurn> turns) =>
        [.. turns.SelectMany(turn => turn.Parts.OfType<ChatImage>()).Select(image => image.TokenCount)];

    private static long LengthOf(ChatTurn turn) => turn.Parts.Sum(part => part switch
    {
        ChatText text => text.Text.Length,
        ChatToolCall call => (long)call.Arguments.Length,
        _ => 0,
    });

    private static JsonElement ArgumentsOf(ChatToolCall call) =>
        JsonText.ParseElement(Encoding.UTF8.GetBytes(call.Arguments));

    private static string TextOf(ChatTurn turn) => string.Concat(turn.Parts.OfType<ChatText>().Select(part => part.Text));

    private static string[] Spellings(ITokenizer tokenizer) =>
        [.. tokenizer.AddedTokens.Concat([SpecialTokens.TurnStart, SpecialTokens.TurnEnd, SpecialTokens.TextEnd,
            SpecialTokens.ImageStart, SpecialTokens.ImageEnd, .. s_thinkTags])
            .Where(token => token.Length > 1 && tokenizer.TokenId(token) is not null).Distinct(StringComparer.Ordinal)];

    private Guards GuardsFor(IReadOnlyList<ChatTurn> turns, string[] spellings, IReadOnlyList<JsonElement> tools,
        string more = "")
    {
        string[] texts = [Source, more, .. tools.Select(ToolTurns.JsonOf),
            .. turns.SelectMany(turn => turn.Parts.OfType<ChatToolCall>())
                .SelectMany(call => new[] { call.Name, ToolTurns.JsonOf(ArgumentsOf(call)) }),
            .. turns.SelectMany(turn => turn.Parts.OfType<ChatText>()).Select(part => part.Text)];
        char[] free = [.. Enumerable.Range(FirstGuard, LastGuard - FirstGuard + 1).Select(code => (char)code)
            .Where(code => !texts.Any(text => text.Contains(code))).Take(2)];
        if (free.Length < 2)
            throw new ArgumentException(
                "The chat holds all of Unicode's noncharacters from U+FDD0 on, two of which a checkpoint's chat " +
                "template needs; take some out.", nameof(turns));
        return new Guards(free[0], free[1], [.. spellings, .. s_pictures]);
    }

    /// <summary>Keeps what is written by users and models from being taken for the template's own marks.</summary>
    private sealed record Guards(char Guard, char Picture, string[] Marks)
    {
        public string InText(string text) => Break(text, Marks);

        /// <summary>The model's tags of thinking are its own.</summary>
        public string InAnswer(string text) => Break(text, Marks.Except(s_thinkTags));

        /// <summary>All texts of a value of JSON.</summary>
        public object? InJson(object? value) => value switch
        {
            string text => InText(text),
            List<object?> list => list.ConvertAll(InJson),
            Dictionary<string, object?> map => map.ToDictionary(member => InText(member.Key),
                member => InJson(member.Value), StringComparer.Ordinal),
            _ => value,
        };

        private string Break(string text, IEnumerable<string> marks)
        {
            foreach (string mark in marks)
            {
                if (text.Contains(mark, StringComparison.Ordinal))
                    text = text.Replace(mark, $"{mark[0]}{Guard}{mark[1..]}", StringComparison.Ordinal);
            }

            return text;
        }
    }
}
