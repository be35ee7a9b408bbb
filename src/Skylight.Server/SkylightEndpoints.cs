using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Skylight.Chat;

namespace Skylight.Server;

/// <summary>Puts a model into an ASP.NET Core host.</summary>
public static class SkylightEndpoints
{
    /// <summary>Maps the endpoints of the model that is in the container: a <see cref="ChatModel"/>.</summary>
    /// <param name="endpoints">The host's endpoints, or a group of them with a prefix.</param>
    /// <param name="options">Names, keys and limits; null for those of the container, if there are any.</param>
    /// <returns>The endpoints, for the host's own conventions: authorization, rate limits, CORS.</returns>
    /// <exception cref="InvalidOperationException">The container has no model, or it is not loaded yet.</exception>
    /// <example>
    /// <code>
    /// builder.Services.AddSkylight(options => options.ModelDirectory = "InternVL3-1B");
    /// WebApplication app = builder.Build();
    /// await app.Services.GetRequiredService&lt;SkylightModelProvider&gt;().GetAsync();
    /// app.MapSkylight();
    /// </code>
    /// </example>
    public static IEndpointConventionBuilder MapSkylight(this IEndpointRouteBuilder endpoints,
        SkylightServerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ChatModel model = endpoints.ServiceProvider.GetService<ChatModel>() ?? throw new InvalidOperationException(
            "The container has no ChatModel: register one (AddSkylight of Skylight.Extensions.AI, or AddSingleton), " +
            "or give it to MapSkylight.");
        return endpoints.MapSkylight(model, options ?? endpoints.ServiceProvider.GetService<SkylightServerOptions>());
    }

    /// <summary>
    /// Maps <c>POST /v1/chat/completions</c>, <c>POST /v1/completions</c>, <c>POST /v1/responses</c>,
    /// <c>GET</c> and <c>DELETE /v1/responses/{id}</c>, <c>GET /v1/models</c> and <c>GET /v1/models/{id}</c> in OpenAI's
    /// format, <c>POST /tokenize</c> and <c>POST /detokenize</c> in vLLM's,
    /// <c>GET /health</c>, <c>GET /metrics</c> (Prometheus text) and <c>GET /openapi.json</c>; with
    /// <see cref="SkylightServerOptions.ServesPage"/> also <c>GET /</c> and the files of its page under <c>/page</c>.
    /// Requests are refused with 503 once the host is stopping; those that run
    /// go on for as long as the host waits. Errors are OpenAI's JSON. Logs never hold what was asked or answered.
    /// </summary>
    /// <param name="endpoints">The host's endpoints, or a group of them with a prefix.</param>
    /// <param name="model">The model; it stays the host's to close.</param>
    /// <param name="options">Names, keys and limits.</param>
    /// <returns>The endpoints, for the host's own conventions: authorization, rate limits, CORS.</returns>
    /// <exception cref="ArgumentException">An option is of no use.</exception>
    public static IEndpointConventionBuilder MapSkylight(this IEndpointRouteBuilder endpoints, ChatModel model,
        SkylightServerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(model);
        ILoggerFactory loggers = endpoints.ServiceProvider.GetService<ILoggerFactory>() ?? NullLoggerFactory.Instance;
        CancellationToken stopping =
            endpoints.ServiceProvider.GetService<IHostApplicationLifetime>()?.ApplicationStopping ?? default;
        options = (options ?? new SkylightServerOptions()).Validate();
        var service = new ModelService(model, options, loggers.CreateLogger("Skylight.Server"), stopping);
        RouteGroupBuilder group = endpoints.MapGroup("");
        var origins = new CrossOrigin(options.CorsOrigins);
        foreach (ServerRoute route in ServerRoutes.All)
        {
            Func<HttpContext, Task> handler = route.Handler(service);
            group.MapMethods(route.Path, [route.Method], origins.Wrap(new RequestDelegate(handler)));
        }

        foreach (string path in origins.IsOn ? ServerRoutes.All.Select(route => route.Path).Distinct() : [])
            group.MapMethods(path, ["OPTIONS"], (RequestDelegate)origins.PreflightAsync);

        if (options.ServesPage)
            PageEndpoints.Map(group, options.MaximumBodyBytes);
        return group;
    }
}
