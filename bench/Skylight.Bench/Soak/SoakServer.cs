using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Skylight.Chat;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Server;
using Skylight.Text;

namespace Skylight.Bench.Soak;

/// <summary>
/// A small model behind a web server in this process. One character of its alphabet has an embedding that is no number.
/// </summary>
internal sealed class SoakServer : IAsyncDisposable
{
    /// <summary>A request that holds it, or whose answer comes to hold it, is poisoned.</summary>
    public const char Poison = '#';

    private const string Alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?'-()/\n#";

    private readonly WebApplication _app;

    private SoakServer(WebApplication app, ChatModel model)
    {
        (_app, Model) = (app, model);
        Address = new Uri(
            app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
    }

    public ChatModel Model { get; }

    public Uri Address { get; }

    /// <summary>The number of <see cref="Poison"/>.</summary>
    public int PoisonToken => Model.Tokenizer.Encode(Poison.ToString())[0];

    public static async Task<SoakServer> StartAsync()
    {
        var tokenizer = new CharacterTokenizer(
            Alphabet, SpecialTokens.TurnStart, SpecialTokens.TurnEnd, SpecialTokens.ImageStart,
            SpecialTokens.ImageContext, SpecialTokens.ImageEnd);
        ModelConfiguration tiny = ModelFamily.Configuration("tiny");
        tiny = tiny with
        {
            Language = tiny.Language with { VocabularySize = tokenizer.VocabularySize },
            ImageTokenId = tokenizer.TokenId(SpecialTokens.ImageContext),
            StopTokenIds = [tokenizer.RequiredTokenId(SpecialTokens.TurnEnd)],
            SystemMessage = "",
        };
        var network = new VisionLanguageModel(tiny, new CpuDevice());
        network.Initialize(5);
        int poison = tokenizer.Encode(Poison.ToString())[0];
        // Far from uniform, so that what was read shows in what is written.
        Change(network, "language.embedding.weight", (weight, row) => row == poison ? float.NaN : 30 * weight);
        Change(network, "connector.linear2.weight", (weight, _) => 30 * weight);
        // A cache that is too small for all, so that requests wait and pages change hands.
        var model = new ChatModel("soak", network, tokenizer,
            new ChatModelOptions { CacheTokens = 16384, ImageCacheBytes = 8 << 20, MaximumRequests = 1024 });
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore();
        WebApplication app = builder.Build();
        app.UseRouting();
        app.MapSkylight(model);
        await app.StartAsync();
        return new SoakServer(app, model);
    }

    /// <summary>Waits until all requests have left.</summary>
    /// <returns>Whether they did, and all pages are free.</returns>
    public async Task<bool> BecomesIdleAsync()
    {
        for (int attempt = 0; attempt < 600; attempt++)
        {
            if (Model.Load is { WaitingRequests: 0, ReadingRequests: 0, WritingSequences: 0, UsedPages: 0 })
                return true;
            await Task.Delay(50);
        }

        return false;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync();
        await _app.DisposeAsync();
        await Model.DisposeAsync();
    }

    private static void Change(VisionLanguageModel model, string name, Func<float, int, float> change)
    {
        float[] values = PersistentTensors.Read(model.Device, model.Parameters[name]);
        int width = model.Parameters[name].Type.Shape.Columns;
        PersistentTensors.Write(model.Device, model.Parameters[name],
            [.. values.Select((value, index) => change(value, index / width))]);
    }
}
