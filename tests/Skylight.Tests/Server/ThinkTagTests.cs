using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Chat;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Server;

/// <summary>
/// Over HTTP no tag of a think block is in the text, wherever the model writes one and however tokens cut it.
/// </summary>
public sealed class ThinkTagTests
{
    [Theory]
    [InlineData(false, "It is <think>\nsure?\n</think>\n2.", "sure?", "It is 2.")]
    [InlineData(false, "why\n</think>\nso", "", "why\n\nso")]
    [InlineData(true, "why\n</think>\n\nso</think> it is", "why", "so it is")]
    [InlineData(true, "<think>\nwhy</think>so <think>again</think>.", "whyagain", "so .")]
    public async Task No_tag_is_in_the_text_however_tokens_cut_it(bool thinking, string text, string reasoning,
        string content)
    {
        const int Tokens = 48;
        JsonObject request = ServedModel.LongRequest(Tokens);
        request["logprobs"] = true;
        // Which tokens the model draws; what they spell changes nothing of that.
        int[] drawn = await DrawnAsync(thinking, request);
        foreach (int length in (int[])[1, 2, 3, 5, 8, 48])
        {
            var spelling = new Dictionary<int, string>();
            for (int index = 0; index < drawn.Length; index++)
                spelling[drawn[index]] = text.Length > index * length
                    ? text.Substring(index * length, Math.Min(length, text.Length - index * length)) : "";
            Assert.Equal(Tokens, spelling.Count);
            await using ServedModel served = await ServedModel.StartAsync(
                modelOptions: new ChatModelOptions { CacheTokens = 8192, Tokenizer = new SpellingTokenizer(spelling) },
                thinking: thinking);
            JsonElement message = (await served.AskAsync(request)).GetProperty("choices")[0].GetProperty("message");
            Assert.Equal((reasoning, content), (TextOf(message, "reasoning_content"), TextOf(message, "content")));
            List<JsonElement> events = await served.StreamAsync(request.DeepClone());
            JsonElement[] deltas = [.. events.Select(chunk => chunk.GetProperty("choices")[0].GetProperty("delta"))];
            Assert.Equal(
                (reasoning, content),
                (string.Concat(deltas.Select(delta => TextOf(delta, "reasoning_content"))),
                    string.Concat(deltas.Select(delta => TextOf(delta, "content")))));
        }
    }

    private static async Task<int[]> DrawnAsync(bool thinking, JsonObject request)
    {
        var spelling = new SpellingTokenizer([]);
        await using ServedModel served = await ServedModel.StartAsync(
            modelOptions: new ChatModelOptions { CacheTokens = 8192, Tokenizer = spelling }, thinking: thinking);
        await served.AskAsync(request.DeepClone());
        return [.. spelling.Asked.Distinct()];
    }

    private static string TextOf(JsonElement element, string field) =>
        element.TryGetProperty(field, out JsonElement text) && text.ValueKind == JsonValueKind.String
            ? text.GetString()! : "";

    /// <summary>The real tokenizer, where some tokens spell something else.</summary>
    private sealed class SpellingTokenizer(Dictionary<int, string> spelling) : ITokenizer
    {
        private readonly Dictionary<int, byte[]> _spelling = spelling.ToDictionary(pair => pair.Key,
            pair => Encoding.UTF8.GetBytes(pair.Value));

        /// <summary>The tokens whose bytes were asked for.</summary>
        public List<int> Asked { get; } = [];

        public int VocabularySize => TokenizerFixture.Real.VocabularySize;

        public int[] Encode(string text, bool allowSpecial = false) => TokenizerFixture.Real.Encode(text, allowSpecial);

        public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false) =>
            TokenizerFixture.Real.Decode(tokens, skipSpecial);

        public int? TokenId(string specialToken) => ((ITokenizer)TokenizerFixture.Real).TokenId(specialToken);

        public bool IsSpecial(int token) => !_spelling.ContainsKey(token) && TokenizerFixture.Real.IsSpecial(token);

        public ReadOnlySpan<byte> TokenBytes(int token)
        {
            lock (Asked)
                Asked.Add(token);
            return _spelling.TryGetValue(token, out byte[]? bytes) ? bytes
                : ((ITokenizer)TokenizerFixture.Real).TokenBytes(token);
        }
    }
}
