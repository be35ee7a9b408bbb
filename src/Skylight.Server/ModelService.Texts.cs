using System.Diagnostics;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>The endpoints beside chat completions.</summary>
internal sealed partial class ModelService
{
    private const int MostTokens = 1 << 20;

    /// <summary><c>POST /v1/completions</c>.</summary>
    public Task CompleteTextAsync(HttpContext context)
    {
        string id = $"cmpl-{Guid.NewGuid():N}";
        var answers = new CompletionCollector(id, _name, model.Tokenizer);
        return ServeAsync(context, id, answers, body =>
        {
            var request = CompletionRequest.Read(body, NewReader());
            long start = Stopwatch.GetTimestamp();
            PreparedPrompt[] prompts = [.. request.Prompts.Select(prompt => prompt.Prepare(model))];
            answers.Start(request);
            return AnswerAsync(context, answers, [.. Enumerable.Range(0, prompts.Length * request.Count)
                .Select(choice => (prompts[choice / request.Count], request.OptionsOf(choice)))], start, request.Stream,
                request.IncludeUsage);
        });
    }

    /// <summary><c>POST /tokenize</c>.</summary>
    public Task TokenizeAsync(HttpContext context) => ServeAsync(context, $"tok-{Guid.NewGuid():N}", null, async body =>
    {
        using JsonDocument document = ChatRequestReader.ParseBody(body);
        var root = new JsonField(document.RootElement, "");
        ChatRequestReader reader = NewReader();
        reader.CheckRoot(root, TextFields.Tokenize);
        bool spells = root["return_token_strs"]?.Boolean() ?? false;
        PreparedPrompt prompt = await ReadPromptAsync(root, reader, context.RequestAborted).ConfigureAwait(false);
        int[] tokens = prompt.Sequence.Tokens;
        await WriteAsync(context, new Tokenized(tokens.Length, model.ContextTokens, tokens,
            spells ? [.. tokens.Select(token => model.Tokenizer.Decode([token]))] : null), ServerJson.Compact.Tokenized)
            .ConfigureAwait(false);
    });

    /// <summary><c>POST /detokenize</c>.</summary>
    public Task DetokenizeAsync(HttpContext context) => ServeAsync(context, $"detok-{Guid.NewGuid():N}", null, body =>
    {
        using JsonDocument document = ChatRequestReader.ParseBody(body);
        var root = new JsonField(document.RootElement, "");
        NewReader().CheckRoot(root, TextFields.Detokenize);
        JsonField field = root.Required("tokens");
        if (field.Count > MostTokens)
            throw ApiException.BadRequest($"'tokens' has {field.Count} tokens; at most {MostTokens} are allowed.", "tokens");
        int most = model.Tokenizer.VocabularySize - 1;
        int[] tokens = [.. field.Items().Select(item => item.Integer(0, most))];
        return WriteAsync(context, new Detokenized(model.Tokenizer.Decode(tokens)), ServerJson.Compact.Detokenized);
    });

    /// <summary><c>POST /v1/embeddings</c>, which there is not.</summary>
    public Task RefuseEmbeddingsAsync(HttpContext context) => ServeAsync(context, $"embd-{Guid.NewGuid():N}", null, _ =>
        throw ApiException.BadRequest(
            "This server writes answers and makes no embeddings: the model was not trained for them. Ask a server of an " +
            "embedding model for them, and send what is found with them in 'messages' to POST /v1/chat/completions.",
            code: "unsupported_endpoint"));

    /// <summary><c>GET /openapi.json</c>.</summary>
    public Task DescribeAsync(HttpContext context) => GuardAsync(context, () =>
        WriteAsync(context, OpenApiDocument.Write(_keyHashes.Length > 0)));

    private async Task<PreparedPrompt> ReadPromptAsync(JsonField root, ChatRequestReader reader,
        CancellationToken cancellationToken)
    {
        if (root["messages"] is not { } messages)
        {
            foreach (string name in (string[])["enable_thinking", "chat_template_kwargs", "continue_final_message",
                "add_generation_prompt", "max_tiles"])
            {
                if (root[name] is { } field)
                    throw ApiException.BadRequest($"'{name}' needs 'messages': a 'prompt' has no template.", field.Path);
            }

            return model.Prepare(root.Required("prompt").Text());
        }

        if (root["prompt"] is not null)
            throw ApiException.BadRequest("'prompt' and 'messages' are both there: send one of them.", "prompt");
        (List<Message> read, bool lowDetail) = await reader.ReadMessagesAsync(messages, cancellationToken)
            .ConfigureAwait(false);
        ChatRequestReader.CheckContinuation(root, read[^1].Role == ChatRole.Assistant);
        return await model.PrepareAsync(read, new GenerationOptions
        {
            Thinking = ChatRequestReader.ReadThinking(root),
            MaximumTiles = root["max_tiles"]?.Integer(1, 1024) ?? (lowDetail ? 1 : null),
        }, cancellationToken).ConfigureAwait(false);
    }
}
