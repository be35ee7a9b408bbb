using System.Text.Json;
using Skylight.Text.Templates;

namespace Skylight.Text;

/// <summary>
/// How a chat becomes the tokens that a model was trained to read. All templates of the family have one layout, turns of
/// <c>&lt;|im_start|&gt;role\n…&lt;|im_end|&gt;\n</c> and pictures as
/// <c>&lt;img&gt;&lt;IMG_CONTEXT&gt;…&lt;/img&gt;\n</c>; they differ in the system message and in how the answer
/// begins. Text of turns never becomes a special token.
/// </summary>
/// <remarks>
/// Sources: InternVL's <c>conversation.py</c> (<c>internvl2_5</c>), the chat template of transformers'
/// <c>convert_internvl_weights_to_hf.py</c>, and Skywork-R1V3's templates as its authors state them (Skywork-R1V issue
/// 40: the answer begins
/// <c>&lt;|im_start|&gt;assistant\n&lt;think&gt;\n</c>; system message: technical report, section 6.2).
/// </remarks>
public sealed partial record ChatTemplate
{
    private const string InternVLName = "internvl2_5", InternVLBareName = "internvl2_5-no-system",
        TransformersName = "transformers";
    private const string ThinkingName = "r1v3", NoThinkingName = "r1v3-no-think";

    /// <summary>InternVL2.5's and InternVL3's own, with its Chinese introduction as system message.</summary>
    public static ChatTemplate InternVL { get; } = new()
    {
        Name = InternVLName,
        SystemMessage = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。",
    };

    /// <summary><see cref="InternVL"/> without a system message.</summary>
    public static ChatTemplate InternVLWithoutSystem { get; } = new() { Name = InternVLBareName };

    /// <summary>
    /// The one that transformers' converted checkpoints bring: no system message unless the chat begins with one.
    /// </summary>
    public static ChatTemplate Transformers { get; } = new() { Name = TransformersName };

    /// <summary>Skywork-R1V3 thinking: the prompt ends <c>&lt;think&gt;\n</c>.</summary>
    public static ChatTemplate SkyworkThinking { get; } = new()
    {
        Name = ThinkingName,
        SystemMessage = "You are a helpful assistant.",
        OpensThinking = true
    };

    /// <summary>Skywork-R1V3 answering at once: as <see cref="SkyworkThinking"/> without the opened think block.</summary>
    public static ChatTemplate SkyworkNoThinking { get; } = SkyworkThinking with
    {
        Name = NoThinkingName,
        OpensThinking = false,
    };

    /// <summary>
    /// The system message with which the card of InternVL3.5 has it think (<c>R1_SYSTEM_PROMPT</c>): it then writes
    /// <c>&lt;think&gt;</c> itself.
    /// </summary>
    public static string InternVLThinkingMessage { get; } = """
        You are an AI assistant that rigorously follows this response protocol:

        1. First, conduct a detailed analysis of the question. Consider different angles, potential solutions, and reason through the problem step-by-step. Enclose this entire thinking process within <think> and </think> tags.

        2. After the thinking section, provide a clear, concise, and direct answer to the user's question. Separate the answer from the think section with a newline.

        Ensure that the thinking process is thorough but remains focused on the query. The final answer should be standalone and not reference the thinking section.
        """.ReplaceLineEndings("\n");

    /// <summary>The names that <see cref="Named"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = [InternVLName, InternVLBareName, TransformersName,
        ThinkingName, NoThinkingName];

    /// <summary>What it is called.</summary>
    public required string Name { get; init; }

    /// <summary>The checkpoint's own template; null for those that are built in.</summary>
    internal JinjaChat? Jinja { get; private init; }

    /// <summary>What the checkpoint's own template is told of thinking; null for nothing.</summary>
    private bool? EnableThinking { get; init; }

    /// <summary>The Jinja of a checkpoint's own template; null for those that are built in.</summary>
    public string? Source => Jinja?.Source;

    /// <summary>The system message of a chat that does not begin with one; null for none.</summary>
    public string? SystemMessage { get; init; }

    /// <summary>Whether the prompt opens a think block for the answer.</summary>
    public bool OpensThinking { get; init; }

    /// <summary>
    /// What asks the model to think, where a system message does; null where the prompt opens the think block for it.
    /// See <see cref="WithThinking"/>.
    /// </summary>
    public string? ThinkingMessage { get; init; }

    /// <summary>
    /// Whether a chat begins with <see cref="ThinkingMessage"/>: in place of <see cref="SystemMessage"/>, or, with an
    /// empty line between, before the system message that the chat begins with. A chat whose system message begins with
    /// it already stays as it is.
    /// </summary>
    public bool AsksToThink { get; init; }

    /// <summary>Whether the model may open a think block itself.</summary>
    internal bool MayThink => AsksToThink || (Jinja is { SwitchesThinking: true } && EnableThinking != false);

    /// <summary>
    /// Whether earlier answers keep their thinking. Off, all up to the last <c>&lt;/think&gt;</c> is left out, as
    /// reasoning models expect. On, an answer that closes a think block which its prompt had opened gets the opening back.
    /// </summary>
    public bool KeepsThinking { get; init; }

    /// <summary>
    /// The template with thinking on or off, in the way of its model: by a system message, or by an opened think block.
    /// </summary>
    /// <param name="thinking">Whether the model thinks before it answers.</param>
    public ChatTemplate WithThinking(bool thinking)
    {
        if (ThinkingMessage is not null)
            return this with { AsksToThink = thinking };
        return Jinja is null ? this with { OpensThinking = thinking }
            : this with { EnableThinking = thinking, OpensThinking = Jinja.OpensThinking(thinking) };
    }

    /// <summary>
    /// A template in Jinja, as checkpoints bring it (<c>chat_template</c>): it decides about system message, thinking
    /// and everything else, where <see cref="SystemMessage"/>
    /// and <see cref="ThinkingMessage"/> do not. Thinking is switched by <c>enable_thinking</c>.
    /// </summary>
    /// <param name="name">What it is called.</param>
    /// <param name="source">The template: the part of Jinja that docs/serving.md names.</param>
    /// <param name="tokens">Special tokens that it may write by name, such as <c>bos_token</c>, with their
    /// spellings.</param>
    /// <exception cref="TemplateException">It asks for what is not supported, or cannot render the simplest of chats;
    /// names line and column.</exception>
    public static ChatTemplate FromJinja(string name, string source, IReadOnlyDictionary<string, string>? tokens = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(source);
        var jinja = new JinjaChat(source, tokens ?? new Dictionary<string, string>());
        return new ChatTemplate { Name = name, Jinja = jinja, OpensThinking = jinja.OpensThinking(null) };
    }

    /// <summary>
    /// Whether a template in Jinja writes the same as this one, with each setting of thinking that it knows.
    /// </summary>
    internal bool WritesLike(ChatTemplate other)
    {
        JinjaChat jinja = other.Jinja!;
        try
        {
            return (jinja.SwitchesThinking ? (bool?[])[null, true, false] : [null]).All(thinking =>
            {
                ChatTemplate template = thinking is { } value ? WithThinking(value) : this;
                return JinjaChat.Probes.All(
                    chat => template.Spell(chat, []) == jinja.Spell(chat, thinking, KeepsThinking, []))
                    && (!jinja.TakesTools || template.Spell(JinjaChat.ToolProbe, JinjaChat.ProbeTools)
                        == jinja.Spell(JinjaChat.ToolProbe, thinking, KeepsThinking, JinjaChat.ProbeTools));
            });
        }
        catch (TemplateException exception) when (exception.IsRefusal)
        {
            return false;
        }
    }

    /// <summary>A prompt as text, with its special tokens spelled out.</summary>
    private string Spell(ChatTurn[] turns, IReadOnlyList<JsonElement> tools)
    {
        var prompt = new Writer(null);
        WritePrompt(prompt, Folded(turns, tools));
        return prompt.Spelled;
    }

    /// <summary>A template by name.</summary>
    /// <exception cref="ArgumentException">There is none of that name; lists those that there are.</exception>
    public static ChatTemplate Named(string name) => name switch
    {
        InternVLName => InternVL,
        InternVLBareName => InternVLWithoutSystem,
        TransformersName => Transformers,
        ThinkingName => SkyworkThinking,
        NoThinkingName => SkyworkNoThinking,
        _ => throw new ArgumentException($"There is no chat template '{name}'; there are: {string.Join(", ", Names)}.",
            nameof(name)),
    };

    /// <summary>The template that belongs to a checkpoint.</summary>
    /// <param name="modelType">What config.json says in <c>model_type</c>: "internvl_chat", "skywork_chat" or
    /// "internvl".</param>
    /// <param name="templateName">What it says in <c>template</c>, if anything; only "internvl_chat" is chosen by
    /// it.</param>
    /// <param name="thinking">Whether a model that can think before it answers does.</param>
    /// <exception cref="ArgumentException">The model or its template is not supported; names what was found and what is
    /// supported.</exception>
    public static ChatTemplate For(string modelType, string? templateName = null, bool thinking = true) =>
        (modelType, templateName) switch
        {
            ("skywork_chat", _) => thinking ? SkyworkThinking : SkyworkNoThinking,
            ("internvl", _) => Transformers,
            ("internvl_chat", null or InternVLName) => InternVL,
            ("internvl_chat", _) =>
                throw new ArgumentException(
                    $"config.json asks for the chat template '{templateName}'; supported: '{InternVLName}'.",
                    nameof(templateName)),
            _ => throw new ArgumentException(
                $"There is no chat template for models of type '{modelType}'; supported: 'internvl_chat', " +
                $"'skywork_chat', 'internvl'.", nameof(modelType)),
        };

    /// <summary>
    /// Turns a chat into the tokens of a prompt; the model's answer comes next. Where the last turn is the assistant's,
    /// it is what the model has written so far, and the model goes on there: behind <c>&lt;think&gt;\n</c> where
    /// <see cref="OpensThinking"/>, so that it is thinking up to a
    /// <c>&lt;/think&gt;</c> in it; else the answer, unless it begins with <c>&lt;think&gt;</c> itself.
    /// </summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="turns">The chat, oldest turn first.</param>
    /// <param name="tools">What the model may call, each as OpenAI's API writes it: <c>{"type": "function", "function":
    /// {"name": …, "description": …, "parameters": …}}</c>. They stand behind the system message, in Qwen2.5's form or
    /// in that of the checkpoint's own template; none by default.</param>
    /// <exception cref="ArgumentException">There are no turns, a part is null, a picture is not in a user's or a tool's
    /// turn, or its token count is not usable.</exception>
    /// <exception cref="TokenizerException">The tokenizer lacks a special token that the template needs; names
    /// it.</exception>
    public ChatPrompt Apply(ITokenizer tokenizer, IReadOnlyList<ChatTurn> turns, IReadOnlyList<JsonElement>? tools = null)
    {
        tools ??= [];
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(turns);
        if (turns.Count == 0)
            throw new ArgumentException("A chat needs at least one turn.", nameof(turns));
        if (turns[^1] is { Role: ChatRole.Assistant } && CallsTools(turns[^1]))
            throw new ArgumentException(
                $"Turn {turns.Count - 1} of the chat, the last one, calls tools: what they gave must follow it.",
                nameof(turns));

        var prompt = new Writer(tokenizer);
        if (Jinja is { TakesTools: true })
            return ByJinja(() => Jinja.Apply(prompt, tokenizer, Begun(turns), EnableThinking, KeepsThinking, tools));
        turns = Folded(turns, tools);
        if (Jinja is not null)
            return ByJinja(() => Jinja.Apply(prompt, tokenizer, Begun(turns), EnableThinking, KeepsThinking, []));
        bool isThinking = WritePrompt(prompt, turns);
        return new ChatPrompt(prompt.Finish(), isThinking, prompt.ImageTokenCount);
    }

    private bool WritePrompt(Writer prompt, IReadOnlyList<ChatTurn> turns)
    {
        turns = Begin(prompt, turns);
        string begun = "";
        for (int i = 0; i < turns.Count; i++)
        {
            if (i == turns.Count - 1 && turns[i] is { Role: ChatRole.Assistant, Parts.IsDefault: false } last)
                begun = TextOf(last, i);
            else
                Write(prompt, turns[i], i);
        }

        prompt.Special(SpecialTokens.TurnStart);
        prompt.Text("assistant\n");
        return WriteBeginning(prompt, begun);
    }

    /// <summary>
    /// Turns a chat with its answers into the tokens that it is when the model has written them: each answer begins
    /// where the prompt that <see cref="Apply"/> makes ends, and ends with the token that ends a turn. Where
    /// <see cref="OpensThinking"/>, the opening of the think block belongs to the prompt of the last answer. Earlier
    /// answers are without their thinking, as prompts have them, unless
    /// <see cref="KeepsThinking"/>.
    /// </summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="turns">The chat, oldest turn first; the last one is the assistant's.</param>
    /// <exception cref="ArgumentException">As for <see cref="Apply"/>; the last turn is not the assistant's, or an
    /// answer does not close the think block that its prompt opens.</exception>
    /// <exception cref="TokenizerException">The tokenizer lacks a special token that the template needs; names
    /// it.</exception>
    public ChatTranscript ApplyWithAnswers(ITokenizer tokenizer, IReadOnlyList<ChatTurn> turns)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(turns);
        if (turns.Count == 0 || turns[^1] is not { Role: ChatRole.Assistant })
            throw new ArgumentException("A chat to learn from must end with the assistant's turn.", nameof(turns));
        if (turns.Any(CallsTools))
            throw new ArgumentException("A chat to learn from cannot hold calls of tools: write them as text.",
                nameof(turns));

        var transcript = new Writer(tokenizer);
        turns = Jinja is { TakesTools: true } ? turns : Folded(turns, []);
        if (Jinja is not null)
            return ByJinja(() => Jinja.ApplyWithAnswers(transcript, tokenizer, Begun(turns), EnableThinking, KeepsThinking));
        var answers = new List<(int Start, int End)>();
        turns = Begin(transcript, turns);
        for (int i = 0; i < turns.Count; i++)
        {
            if (turns[i] is not { Role: ChatRole.Assistant, Parts.IsDefault: false } turn)
            {
                Write(transcript, turns[i], i);
                continue;
            }

            bool thinks = i == turns.Count - 1 || KeepsThinking;
            string answer = TextOf(turn, i);
            transcript.Special(SpecialTokens.TurnStart);
            transcript.Text("assistant\n");
            answers.Add(WriteAnswer(transcript, thinks ? answer : WithoutThinking(answer), thinks && OpensThinking, i));
            transcript.Text("\n");
        }

        return new ChatTranscript(transcript.Finish(), answers, transcript.ImageTokenCount);
    }

    /// <summary>Turns for a template in Jinja: checked, and with the system message that they lack.</summary>
    private List<ChatTurn> Begun(IReadOnlyList<ChatTurn> turns)
    {
        // What is wrong with a turn is found, and named, by writing it down.
        var check = new Writer(null);
        List<ChatTurn> folded = ToolTurns.Fold(turns);
        for (int i = 0; i < folded.Count; i++)
            Write(check, folded[i], i);
        var begin = new Writer(null);
        turns = Begin(begin, turns);
        string? message = begin.Spelled.Length == 0 ? null : AsksToThink ? ThinkingMessage : SystemMessage;
        return message is null ? [.. turns] : [ChatTurn.System(message), .. turns];
    }

    /// <summary>
    /// Turns in Qwen2.5's form of tools, for what has none of its own: what may be called behind the system message,
    /// what tools gave in turns of the user's.
    /// </summary>
    private IReadOnlyList<ChatTurn> Folded(IReadOnlyList<ChatTurn> turns, IReadOnlyList<JsonElement> tools)
    {
        List<ChatTurn> folded = ToolTurns.Fold(turns);
        if (tools.Count == 0)
            return folded;
        if (folded[0] is not { Role: ChatRole.System })
            folded.Insert(0, ChatTurn.System((AsksToThink ? ThinkingMessage : SystemMessage) ?? ""));
        if (!folded[0].Parts.IsDefault)
            folded[0] = ToolTurns.WithTools(folded[0], tools);
        return folded;
    }

    private static T ByJinja<T>(Func<T> render)
    {
        try
        {
            return render();
        }
        catch (TemplateException exception)
        {
            throw new ArgumentException($"The checkpoint's chat template cannot write this chat: {exception.Message}",
                "turns", exception);
        }
    }

    /// <summary>Writes the system message that the turns lack, or gives them one that asks to think.</summary>
    private IReadOnlyList<ChatTurn> Begin(Writer prompt, IReadOnlyList<ChatTurn> turns)
    {
        string? asking = AsksToThink ? ThinkingMessage : null;
        if (turns[0] is not { Role: ChatRole.System } first)
        {
            if ((asking ?? SystemMessage) is { } message)
                Write(prompt, ChatTurn.System(message), 0);
            return turns;
        }

        if (asking is null || first.Parts.IsDefault
            || string.Concat(first.Parts.OfType<ChatText>().Select(part => part.Text))
            .StartsWith(asking, StringComparison.Ordinal))
            return turns;
        return [first with { Parts = [new ChatText($"{asking}\n\n"), .. first.Parts] }, .. turns.Skip(1)];
    }

    /// <summary>Writes an answer with the token that ends it, and says where it is.</summary>
    private static (int Start, int End) WriteAnswer(Writer transcript, string answer, bool isOpened, int index)
    {
        bool tagged = answer.StartsWith(SpecialTokens.ThinkStart, StringComparison.Ordinal);
        string rest = tagged ? answer[SpecialTokens.ThinkStart.Length..] : answer;
        if (isOpened)
        {
            if (!rest.Contains(SpecialTokens.ThinkEnd, StringComparison.Ordinal))
                throw new ArgumentException(
                    $"The answer in turn {index} of the chat has no {SpecialTokens.ThinkEnd}, but its prompt opens a " +
                    $"think block: give the answer with its thinking " +
                    $"({SpecialTokens.ThinkStart}…{SpecialTokens.ThinkEnd}), or let the template not think.", "turns");
            transcript.Tag(SpecialTokens.ThinkStart);
            transcript.Text("\n");
            if (tagged && rest.StartsWith('\n'))
                rest = rest[1..];
        }

        // Cut here, where the prompt ends when the model writes: text on both sides is never one token.
        int start = transcript.Cut();
        if (tagged && !isOpened)
            transcript.Tag(SpecialTokens.ThinkStart);
        int end = tagged || isOpened ? rest.IndexOf(SpecialTokens.ThinkEnd, StringComparison.Ordinal) : -1;
        transcript.Text(end < 0 ? rest : rest[..end]);
        if (end >= 0)
        {
            transcript.Tag(SpecialTokens.ThinkEnd);
            transcript.Text(rest[(end + SpecialTokens.ThinkEnd.Length)..]);
        }

        transcript.Special(SpecialTokens.TurnEnd);
        return (start, transcript.Cut());
    }

    /// <summary>An answer of the model with its thinking, as it wrote them.</summary>
    /// <param name="thinking">The thinking, without tags.</param>
    /// <param name="answer">The answer; if it is empty and the thinking goes on, the think block stays open.</param>
    /// <param name="closes">Whether the block is closed before an empty answer.</param>
    public static string JoinThinking(string thinking, string answer, bool closes)
    {
        ArgumentNullException.ThrowIfNull(thinking);
        ArgumentNullException.ThrowIfNull(answer);
        string open = $"{SpecialTokens.ThinkStart}\n{thinking}";
        return closes || answer.Length > 0 ? $"{open}\n{SpecialTokens.ThinkEnd}\n\n{answer}" : open;
    }

    /// <summary>
    /// An answer without its thinking: what follows the last <c>&lt;/think&gt;</c>, without the empty lines before it;
    /// the whole answer if there is none.
    /// </summary>
    public static string WithoutThinking(string answer)
    {
        ArgumentNullException.ThrowIfNull(answer);
        int end = answer.LastIndexOf(SpecialTokens.ThinkEnd, StringComparison.Ordinal);
        return end < 0 ? answer : answer[(end + SpecialTokens.ThinkEnd.Length)..].TrimStart('\n');
    }

    /// <summary>Writes how the answer begins, and says whether that ends within a think block.</summary>
    private bool WriteBeginning(Writer prompt, string begun)
    {
        bool tagged = begun.StartsWith(SpecialTokens.ThinkStart, StringComparison.Ordinal);
        if (!OpensThinking && !tagged)
        {
            prompt.Text(begun);
            return false;
        }

        prompt.Tag(SpecialTokens.ThinkStart);
        string rest = tagged ? begun[SpecialTokens.ThinkStart.Length..] : "\n" + begun;
        int end = rest.IndexOf(SpecialTokens.ThinkEnd, StringComparison.Ordinal);
        prompt.Text(end < 0 ? rest : rest[..end]);
        if (end < 0)
            return true;
        prompt.Tag(SpecialTokens.ThinkEnd);
        prompt.Text(rest[(end + SpecialTokens.ThinkEnd.Length)..]);
        return false;
    }

    private void Write(Writer prompt, ChatTurn turn, int index)
    {
        if (turn is null || turn.Parts.IsDefault)
            throw new ArgumentException($"Turn {index} of the chat is null or has no parts.", "turns");
        prompt.Special(SpecialTokens.TurnStart);
        prompt.Text(turn.Role switch
        {
            ChatRole.System => "system\n",
            ChatRole.User => "user\n",
            ChatRole.Assistant => "assistant\n",
            _ => throw new ArgumentException(
                $"Turn {index} of the chat has the role {(int)turn.Role}; there are System, User, Assistant and Tool.",
                "turns"),
        });
        if (turn.Role == ChatRole.Assistant)
            WriteAnswerBefore(prompt, turn, index);
        else
            WriteParts(prompt, turn, index);
        prompt.Special(SpecialTokens.TurnEnd);
        prompt.Text("\n");
    }

    private static bool CallsTools(ChatTurn? turn) =>
        turn is { Parts.IsDefault: false } && turn.Parts.Any(part => part is ChatToolCall);

    /// <summary>An earlier answer with its calls.</summary>
    private void WriteAnswerBefore(Writer prompt, ChatTurn turn, int index)
    {
        string answer = Answer(TextOf(turn with { Parts = [.. turn.Parts.Where(part => part is not ChatToolCall)] }, index));
        prompt.Text(answer);
        bool isFirst = answer.Length == 0;
        foreach (ChatToolCall call in turn.Parts.OfType<ChatToolCall>())
        {
            prompt.Text(isFirst ? "" : "\n");
            prompt.Tag(SpecialTokens.ToolCallStart);
            prompt.Text(ToolTurns.Spell(call));
            prompt.Tag(SpecialTokens.ToolCallEnd);
            isFirst = false;
        }
    }

    private static void WriteParts(Writer prompt, ChatTurn turn, int index)
    {
        foreach (ChatPart part in turn.Parts)
        {
            if (part is ChatImage image && turn.Role == ChatRole.User)
            {
                if (image.TokenCount is < 1 or > ChatImage.MostTokens)
                    throw new ArgumentException(
                        $"A picture in turn {index} of the chat has {image.TokenCount} tokens; supported: 1 to " +
                        $"{ChatImage.MostTokens}.", "turns");
                prompt.Image(image.TokenCount);
                prompt.Text("\n");
            }
            else if (part is ChatTag tag)
            {
                prompt.Tag(tag.Spelling);
            }
            else
            {
                prompt.Text(TextOf(part, turn, index));
            }
        }
    }

    private static string TextOf(ChatTurn turn, int index) =>
        string.Concat(turn.Parts.Select(part => TextOf(part, turn, index)));

    private static string TextOf(ChatPart part, ChatTurn turn, int index) => part switch
    {
        ChatText { Text: { } text } => text,
        ChatImage =>
            throw new ArgumentException(
                $"Turn {index} of the chat has a picture and the role {turn.Role}; pictures belong into a user's or a tool's turn.",
                "turns"),
        _ => throw new ArgumentException($"Turn {index} of the chat has a part that is null or holds null.", "turns"),
    };

    private string Answer(string text)
    {
        if (!KeepsThinking)
            return WithoutThinking(text);
        bool opened = text.StartsWith(SpecialTokens.ThinkStart, StringComparison.Ordinal)
            || !text.Contains(SpecialTokens.ThinkEnd, StringComparison.Ordinal);
        return OpensThinking && !opened ? $"{SpecialTokens.ThinkStart}\n{text}" : text;
    }
}
