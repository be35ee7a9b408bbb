using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;

namespace Skylight.Server;

/// <summary>The endpoints beside chat completions.</summary>
internal sealed partial class ModelService
{
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
        TokenizeRequest request = await TokenizeRequest.ReadAsync(body, NewReader(), context.RequestAborted)
            .ConfigureAwait(false);
        PreparedPrompt prompt = await request.PrepareAsync(model, context.RequestAborted).ConfigureAwait(false);
        int[] tokens = prompt.Sequence.Tokens;
        await WriteAsync(context, new Tokenized(tokens.Length, model.ContextTokens, tokens,
            request.Spells ? [.. tokens.Select(token => model.Tokenizer.Decode([token]))] : null),
            ServerJson.Compact.Tokenized).ConfigureAwait(false);
    });

    /// <summary><c>POST /detokenize</c>.</summary>
    public Task DetokenizeAsync(HttpContext context) => ServeAsync(context, $"detok-{Guid.NewGuid():N}", null, body =>
        WriteAsync(context, new Detokenized(model.Tokenizer.Decode(
            DetokenizeRequest.Read(body, NewReader(), model.Tokenizer.VocabularySize))), ServerJson.Compact.Detokenized));

    /// <summary><c>POST /v1/embeddings</c>, which there is not.</summary>
    public Task RefuseEmbeddingsAsync(HttpContext context) => ServeAsync(context, $"embd-{Guid.NewGuid():N}", null, _ =>
        throw ApiException.BadRequest(
            "This server writes answers and makes no embeddings: the model was not trained for them. Ask a server of an " +
            "embedding model for them, and send what is found with them in 'messages' to POST /v1/chat/completions.",
            code: "unsupported_endpoint"));

    /// <summary><c>GET /openapi.json</c>.</summary>
    public Task DescribeAsync(HttpContext context) => GuardAsync(context, () =>
        WriteAsync(context, OpenApiDocument.Write(_keyHashes.Length > 0)));
}
