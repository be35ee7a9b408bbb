using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Skylight.Chat;
using Skylight.Server;

namespace Skylight.Cli.Chat;

/// <summary><c>skylight serve</c>: a model for clients of OpenAI's chat completions.</summary>
internal static class ServeCommand
{
    private const string KeyVariable = "SKYLIGHT_API_KEY";

    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(2);

    public static Command Create()
    {
        var model = new ModelSelection();
        var host = new Option<string>("--host")
        {
            Description = "The address to listen on: an IP address, or localhost.",
            DefaultValueFactory = _ => "127.0.0.1",
        };
        var port = new Option<int>("--port")
        {
            Description = "The port; 0 for a free one.",
            DefaultValueFactory = _ => 8080,
        };
        var key = new Option<string?>("--api-key")
        {
            Description =
                $"What clients must send as 'Authorization: Bearer KEY'. Better given in the environment, as {KeyVariable}: a command line can be seen by others.",
        };
        var insecure =
            new Option<bool>("--insecure") { Description = "Allow an address that others can reach without an API key." };
        var body = new Option<int>("--max-body")
        {
            Description = "The most megabytes of a request, its pictures included.",
            DefaultValueFactory = _ => 32,
        };
        var urls = new Option<bool>("--allow-image-urls")
        {
            Description =
                "Fetch pictures that requests name by http and https URLs, from public addresses only. Without, " +
                "pictures come as data URLs.",
        };
        var name = new Option<string?>("--name")
        {
            Description = "What clients call the model; by default the repository's or the folder's name.",
        };
        var requests =
            new Option<int>("--max-requests")
            {
                Description = "The most answers at once, those that wait included; more are refused with 429.",
                DefaultValueFactory = _ => 256,
            };
        var prefixes =
            new Option<bool>("--no-prefix-cache")
            {
                Description =
                    "Read every prompt anew. Without, a prompt that begins like an earlier one is read from where " +
                    "they differ, which the sender can tell by the time it takes.",
            };
        var origins = new Option<string[]>("--cors-origin")
        {
            Description =
                "A site whose pages may ask from a browser, such as https://example.com. May be given several times.",
            DefaultValueFactory = _ => [],
        };
        var page = new Option<bool>("--no-page")
        {
            Description = "Answer to programs only: no page for people at the server's address.",
        };
        var stored = new Option<int>("--stored-responses")
        {
            Description =
                "How many responses of /v1/responses are kept in memory to be gone on from, the oldest go first; 0 keeps none.",
            DefaultValueFactory = _ => 1000,
        };
        var storage = new Option<int>("--stored-megabytes")
        {
            Description = "How many megabytes they take at most, with the conversations and pictures behind them.",
            DefaultValueFactory = _ => 256,
        };
        var drain = new Option<int>("--drain-seconds")
        {
            Description = "How long running answers may take when the server is told to end.",
            DefaultValueFactory = _ => 30,
        };
        var command = new SignalHandlingCommand("serve",
            "Serve a model over HTTP: a page for people, and OpenAI's chat completions for programs.")
        {
            host, port, key, insecure, body, urls, name, requests, prefixes, origins, page, stored, storage, drain,
        };
        model.AddTo(command);
        command.SetAction((parse, cancellationToken) => RunAsync(
            model, parse,
            new ServeChoices(
                parse.GetRequiredValue(host), parse.GetValue(port), parse.GetValue(key)
                    ?? Environment.GetEnvironmentVariable(KeyVariable), parse.GetValue(insecure), parse.GetValue(body),
                parse.GetValue(urls), parse.GetValue(name), parse.GetValue(requests), !parse.GetValue(prefixes),
                parse.GetValue(origins) ?? [], !parse.GetValue(page), parse.GetValue(stored),
                parse.GetValue(storage), parse.GetValue(drain)),
            cancellationToken));
        return command;
    }

    private static async Task<int> RunAsync(ModelSelection selection, ParseResult parse, ServeChoices choices,
        CancellationToken cancellationToken)
    {
        IPAddress address = choices.Check();
        using var loading = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        // The first signal ends loading or lets running answers finish; the second ends them.
        using var first = new CancellationTokenSource();
        using var second = new CancellationTokenSource();
        void Signal(PosixSignalContext context)
        {
            context.Cancel = true;
            StopSignals.Note(context.Signal);
            (first.IsCancellationRequested ? second : first).Cancel();
        }

        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Signal),
            terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Signal);
        using CancellationTokenRegistration stop = first.Token.UnsafeRegister(_ => loading.Cancel(), null);
        await using ChatModel model = await selection.LoadAsync(parse, options =>
            options with { MaximumRequests = choices.Requests, CachePrefixes = choices.CachePrefixes }, loading.Token);
        using var fetcher = new ImageUrlFetcher(choices.BodyBytes);
        var running = new RunningRequests();
        await using WebApplication app = Build(address, choices, model, fetcher, running, first.Token);
        try
        {
            await app.StartAsync(loading.Token);
        }
        catch (SocketException exception)
        {
            throw new IOException(
                $"{address}, port {choices.Port}, cannot be listened on: {exception.Message}. Choose another --host or --port.", exception);
        }

        Console.WriteLine(
            $"Serving {choices.Name ?? model.Name} on {app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()}");
        await Task.Delay(Timeout.Infinite, loading.Token)
            .ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        ErrorReporting.BeginLine();
        await Console.Error.WriteLineAsync(string.Create(CultureInfo.InvariantCulture,
            $"skylight: ending; running answers have {choices.DrainSeconds} s. Ctrl-C again ends them."));
        second.CancelAfter(TimeSpan.FromSeconds(choices.DrainSeconds));
        // Who still waits then is told so, before connections are closed.
        using var close = new CancellationTokenSource();
        using CancellationTokenRegistration end = second.Token.UnsafeRegister(
            _ =>
            {
                _ = model.DisposeAsync().AsTask();
                close.CancelAfter(s_farewell);
            },
            null);
        // Until the last answer has ended the server listens, and says that it is draining.
        await running.NoneAsync(close.Token);
        await app.StopAsync(close.Token);
        return 0;
    }

    private static WebApplication Build(IPAddress address, ServeChoices choices, ChatModel model,
        ImageUrlFetcher fetcher, RunningRequests running, CancellationToken draining)
    {
        // Nothing is read from files or variables: what is served is what the command line says.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(
            new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(address, choices.Port);
        });
        builder.Services.AddRoutingCore();
        builder.Services.Configure<HostOptions>(
            options => options.ShutdownTimeout = TimeSpan.FromSeconds(choices.DrainSeconds) + 2 * s_farewell);
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Logging.AddSimpleConsole(console =>
        {
            console.SingleLine = true;
            console.TimestampFormat = "HH:mm:ss ";
            console.ColorBehavior = LoggerColorBehavior.Disabled;
        });
        builder.Services.Configure<ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Logging.SetMinimumLevel(LogLevel.Warning).AddFilter("Skylight.Server", LogLevel.Information)
            // What fails at the start is reported as the error of every command.
            .AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        WebApplication app = builder.Build();
        if (IPAddress.IsLoopback(address) && choices.ApiKey is null)
            app.Use(RefuseForeignHosts);
        app.Use(running.CountAsync);
        app.UseRouting();
        app.MapSkylight(model, new SkylightServerOptions
        {
            ModelName = choices.Name,
            ApiKeys = choices.ApiKey is { } key ? [key] : [],
            MaximumBodyBytes = choices.BodyBytes,
            CorsOrigins = choices.CorsOrigins,
            ServesPage = choices.ServesPage,
            MaximumStoredResponses = choices.StoredResponses,
            MaximumStoredBytes = (long)choices.StoredMegabytes << 20,
            Draining = draining,
            ImageResolver = choices.AllowImageUrls ? fetcher.FetchAsync : null,
        });
        // All paths: by itself a fallback leaves out those that look like a file's.
        app.MapFallback("{**path}", SkylightErrors.WriteNotFoundAsync);
        return app;
    }

    /// <summary>
    /// A page of another site must not reach a server without a key through a name that its owner points at this
    /// machine.
    /// </summary>
    private static Task RefuseForeignHosts(HttpContext context, RequestDelegate next)
    {
        string host = context.Request.Host.Host.Trim('[', ']');
        return host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            || (IPAddress.TryParse(host, out IPAddress? address) && IPAddress.IsLoopback(address))
            ? next(context)
            : SkylightErrors.WriteAsync(context, StatusCodes.Status403Forbidden,
                "This server answers to localhost only. Start it with an API key to use another name.");
    }

    /// <summary>The command handles signals itself.</summary>
    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

/// <summary>What <c>skylight serve</c> was given.</summary>
/// <param name="Host">The address to listen on.</param>
/// <param name="Port">The port.</param>
/// <param name="ApiKey">The key; null for none.</param>
/// <param name="Insecure">Whether others may ask without a key.</param>
/// <param name="BodyMegabytes">The most megabytes of a request.</param>
/// <param name="AllowImageUrls">Whether pictures are fetched.</param>
/// <param name="Name">What clients call the model; null for its own name.</param>
/// <param name="Requests">The most answers at once.</param>
/// <param name="CachePrefixes">Whether a prompt is read from where it differs from earlier ones.</param>
/// <param name="CorsOrigins">The sites whose pages may ask.</param>
/// <param name="ServesPage">Whether a page for people is at the address.</param>
/// <param name="StoredResponses">The most responses that are kept.</param>
/// <param name="StoredMegabytes">The most megabytes that they take.</param>
/// <param name="DrainSeconds">How long running answers may take at the end.</param>
internal sealed record ServeChoices(string Host, int Port, string? ApiKey, bool Insecure, int BodyMegabytes,
    bool AllowImageUrls, string? Name, int Requests, bool CachePrefixes, IReadOnlyList<string> CorsOrigins,
    bool ServesPage, int StoredResponses, int StoredMegabytes, int DrainSeconds)
{
    public long BodyBytes => (long)BodyMegabytes << 20;

    /// <summary>Refuses what cannot work or would be open to others, before anything is loaded.</summary>
    public IPAddress Check()
    {
        IPAddress? address = Host.Equals("localhost", StringComparison.OrdinalIgnoreCase) ? IPAddress.Loopback
            : IPAddress.TryParse(Host, out IPAddress? parsed) ? parsed : null;
        if (address is null)
            throw new ArgumentException($"--host is '{Host}'; give an IP address of this machine, or localhost.");
        Within("--port", Port, 0, IPEndPoint.MaxPort);
        Within("--max-body", BodyMegabytes, 1, 1024);
        Within("--max-requests", Requests, 1, int.MaxValue);
        Within("--stored-responses", StoredResponses, 0, 1_000_000);
        Within("--stored-megabytes", StoredMegabytes, 0, 1 << 20);
        Within("--drain-seconds", DrainSeconds, 0, 86400);
        if (ApiKey is not null && string.IsNullOrWhiteSpace(ApiKey))
            throw new ArgumentException("The API key is empty.");
        if (!IPAddress.IsLoopback(address) && ApiKey is null && !Insecure)
            throw new ArgumentException(
                $"{Host} can be reached by others: give an API key (--api-key, or SKYLIGHT_API_KEY in the environment), or say --insecure.");
        foreach (string origin in CorsOrigins)
        {
            if (!Uri.TryCreate(origin, UriKind.Absolute, out Uri? uri) || !origin.Equals(
                uri.GetLeftPart(UriPartial.Authority), StringComparison.OrdinalIgnoreCase))
            {
                if (origin != "*")
                    throw new ArgumentException(
                        $"--cors-origin is '{origin}'; give scheme, host and port as in https://example.com:8443, without a path.");
                if (ApiKey is null && !Insecure)
                    throw new ArgumentException(
                        "--cors-origin * lets the pages of all sites ask that somebody opens on this machine: give an API " +
                        "key (--api-key, or SKYLIGHT_API_KEY in the environment), name the sites, or say --insecure.");
            }
        }

        return address;
    }

    private static void Within(string option, int value, int least, int most)
    {
        if (value < least || value > most)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture,
                $"{option} is {value}; it must be from {least} to {most}."));
    }
}
