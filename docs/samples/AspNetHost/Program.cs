using Skylight.Chat;
using Skylight.Images;
using Skylight.ImageSharp;
using Skylight.Models;
using Skylight.Server;

WebApplicationBuilder builder = WebApplication.CreateBuilder(args);
string directory = builder.Configuration["Model"]
    ?? throw new InvalidOperationException("Name the checkpoint's folder: --Model DIR, or Model in appsettings.json.");

// The weights are loaded once; every request shares them, and their answers are written together.
await using ChatModel model = await ChatModel.LoadAsync(directory,
    new ChatModelOptions { MaximumRequests = 64, ImageDecoders = ImageDecoders.Standard.WithImageSharp() });
WebApplication app = builder.Build();

// POST /v1/chat/completions, GET /v1/models, GET /health and GET /metrics.
app.MapSkylight(model, new SkylightServerOptions { ApiKeys = app.Configuration["ApiKey"] is { } key ? [key] : [] });

// The model is the host's to use as well.
app.MapPost("/describe", async (HttpRequest request, CancellationToken cancellationToken) =>
{
    using var picture = new MemoryStream();
    await request.Body.CopyToAsync(picture, cancellationToken);
    try
    {
        ChatAnswer answer = await model.CompleteAsync(
            [Message.User("Describe this picture in one sentence.", ImagePart.FromBytes(picture.ToArray()))],
            new GenerationOptions { MaxOutputTokens = 64 }, cancellationToken);
        return Results.Text(answer.Answer);
    }
    catch (ImageException exception)
    {
        return Results.BadRequest(exception.Message);
    }
});

await app.RunAsync();
