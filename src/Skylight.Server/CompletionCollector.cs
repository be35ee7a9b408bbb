using System.Text;
using System.Text.Json;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>Puts texts that go on from prompts into the form of OpenAI's older endpoint.</summary>
/// <param name="id">What the whole is called.</param>
/// <param name="modelName">What the model is called.</param>
/// <param name="tokenizer">Spells tokens.</param>
internal sealed class CompletionCollector(string id, string modelName, ITokenizer tokenizer) : IAnswers
{
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private CollectedAnswer[] _answers = [];
    private string[] _echoes = [];
    // The characters of each text that were told so far.
    private int[] _characters = [];
    private int _count = 1;
    private int? _topTokens;

    public IEnumerable<Usage> Usages => _answers.Where(answer => answer.Usage is not null).Select(answer => answer.Usage!);

    public string Ends => CollectedAnswer.EndsOf(_answers);

    /// <inheritdoc/>
    public int BrokenToolCalls => _answers.Sum(answer => answer.BrokenToolCalls);

    /// <summary>Begins.</summary>
    /// <param name="request">What is asked for.</param>
    public void Start(CompletionRequest request)
    {
        (_count, _topTokens) = (request.Count, request.TopTokens);
        int answers = request.Prompts.Count * request.Count;
        _answers = [.. Enumerable.Range(0, answers).Select(_ => new CollectedAnswer())];
        _echoes = [.. Enumerable.Range(0, answers).Select(choice => request.Echo
            ? request.Prompts[choice / _count].Text(tokenizer, request.Options.SkipSpecialTokens) : "")];
        _characters = new int[answers];
    }

    public void Add(int choice, GenerationUpdate update) => _answers[choice].Add(update);

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(
        Piece([.. _answers.Select((answer, index) => new TextChoice(index, _echoes[index] + answer.Text,
            LogProbabilities(index, answer.Tokens), CollectedAnswer.Reason(answer.End!.Value)))], TotalUsage()),
        ServerJson.Compact.TextCompletion);

    /// <summary>The prompts, where they are part of the text.</summary>
    public void Open(EventStream stream)
    {
        for (int choice = 0; choice < _echoes.Length; choice++)
        {
            if (_echoes[choice].Length > 0)
                Write(stream, new TextChoice(choice, _echoes[choice], null, null));
        }
    }

    public bool Write(EventStream stream, int choice, GenerationUpdate update)
    {
        if (update.Text.Length == 0 && update.Tokens.Count == 0 && update.FinishReason is null)
            return false;
        Write(stream, new TextChoice(choice, update.Text,
            update.Tokens.Count > 0 ? LogProbabilities(choice, update.Tokens) : null,
            update.FinishReason is { } end ? CollectedAnswer.Reason(end) : null));
        return true;
    }

    public void WriteUsage(EventStream stream) =>
        stream.Add(Piece([], TotalUsage()), ServerJson.Compact.TextCompletion);

    private void Write(EventStream stream, TextChoice choice) =>
        stream.Add(Piece([choice], null), ServerJson.Compact.TextCompletion);

    private TextCompletion Piece(IReadOnlyList<TextChoice> choices, ChatUsage? usage) =>
        new(id, "text_completion", _created, modelName, choices, usage);

    private TextLogProbabilities? LogProbabilities(int choice, IReadOnlyList<TokenDetail> tokens)
    {
        if (_topTokens is null)
            return null;
        TokenDetail[] told = [.. tokens.Where(token => !tokenizer.IsSpecial(token.Token))];
        var offsets = new List<int>(told.Length);
        foreach (TokenDetail token in told)
        {
            offsets.Add(_characters[choice]);
            // Each character has one byte that begins it.
            foreach (byte unit in tokenizer.TokenBytes(token.Token))
                _characters[choice] += (unit & 0xC0) == 0x80 ? 0 : 1;
        }

        return new TextLogProbabilities([.. told.Select(token => Spell(token.Token))],
            [.. told.Select(token => token.LogProbability)], _topTokens == 0 ? null : [.. told.Select(TopTokens)], offsets);
    }

    private Dictionary<string, float> TopTokens(TokenDetail token)
    {
        var top = new Dictionary<string, float>();
        // Two tokens may have one spelling: the likelier comes first, and stays.
        foreach (LikelyToken likely in token.TopTokens)
            top.TryAdd(Spell(likely.Token), likely.LogProbability);
        return top;
    }

    /// <summary>The text of a token, or its bytes where they are no whole characters, as OpenAI's older form has them.</summary>
    private string Spell(int token)
    {
        ReadOnlySpan<byte> bytes = tokenizer.TokenBytes(token);
        if (System.Text.Unicode.Utf8.IsValid(bytes))
            return Encoding.UTF8.GetString(bytes);
        var text = new StringBuilder("bytes:");
        foreach (byte unit in bytes)
            text.Append("\\x").Append(Convert.ToHexStringLower([unit]));
        return text.ToString();
    }

    /// <summary>Of each prompt once, however many texts go on from it.</summary>
    private ChatUsage TotalUsage()
    {
        Usage[] usages = [.. _answers.Select(answer => answer.Usage!)],
            prompts = [.. usages.Where((_, index) => index % _count == 0)];
        int prompt = prompts.Sum(usage => usage.PromptTokens), written = usages.Sum(usage => usage.CompletionTokens);
        return new ChatUsage(prompt, written, prompt + written,
            new PromptTokensDetails(prompts.Sum(usage => usage.CachedTokens), 0), CompletionTokensDetails.Of(usages));
    }
}
