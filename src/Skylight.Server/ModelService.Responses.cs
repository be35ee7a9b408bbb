using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;

namespace Skylight.Server;

/// <summary>Responses, and those that are kept.</summary>
internal sealed partial class ModelService
{
    private readonly ResponseStore _responses = new(options.MaximumStoredResponses, options.MaximumStoredBytes);

    /// <summary><c>POST /v1/responses</c>.</summary>
    public Task RespondAsync(HttpContext context)
    {
        string id = $"resp_{Guid.NewGuid():N}";
        var answers = new ResponseCollector(id, _name, model.Tokenizer, _responses);
        return ServeAsync(context, id, answers, async body =>
        {
            long start = Stopwatch.GetTimestamp();
            ResponseRequest request = await new ResponseRequestReader(NewReader(), _responses)
                .ReadAsync(body, context.RequestAborted).ConfigureAwait(false);
            answers.Start(request);
            PreparedPrompt prompt = await PrepareAsync(request, context.RequestAborted).ConfigureAwait(false);
            await AnswerAsync(context, answers, [(prompt, request.Options)], start, request.Stream, false)
                .ConfigureAwait(false);
        });
    }

    /// <summary><c>GET /v1/responses/{id}</c>.</summary>
    public Task GetResponseAsync(HttpContext context) => GuardAsync(context, () =>
    {
        if (context.Request.Query["stream"] == "true")
            throw ApiException.BadRequest("'stream' is not supported: a response that is kept is sent whole.", "stream",
                "unsupported_parameter");
        return WriteAsync(context, (_responses.Find(IdOf(context)) ?? throw NotKept()).Json);
    });

    /// <summary><c>DELETE /v1/responses/{id}</c>.</summary>
    public Task DeleteResponseAsync(HttpContext context) => GuardAsync(context, () =>
    {
        string id = IdOf(context);
        return _responses.Remove(id)
            ? WriteAsync(context, new ResponseDeleted(id, "response", true), ServerJson.Compact.ResponseDeleted)
            : throw NotKept();
    });

    private async Task<PreparedPrompt> PrepareAsync(ResponseRequest request, CancellationToken cancellationToken)
    {
        try
        {
            return await model.PrepareAsync(request.Messages, request.Options, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (ApiException.From(exception) is { Parameter: "messages" } error)
        {
            throw new ApiException(error.Status, error.Message, "input", error.Code, exception);
        }
    }

    private static string IdOf(HttpContext context) => context.Request.RouteValues["id"] as string ?? "";

    private static ApiException NotKept() => new(StatusCodes.Status404NotFound,
        "There is no such response here: it was sent with 'store' false, was deleted, or has made room for later ones.",
        "id", "response_not_found");
}
