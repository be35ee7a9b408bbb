using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Extensions.AI;
using Skylight.Tests.Chat;

namespace Skylight.Tests.Extensions;

/// <summary>A checkpoint folder for the tests of a class.</summary>
public sealed class CheckpointFolder : IDisposable
{
    private readonly TemporaryFolder _root = new();

    public CheckpointFolder() => TinyChatModel.WriteCheckpoint(Path = _root["a-model"], ExtensionModel.Configuration);

    public string Path { get; }

    public void Dispose() => _root.Dispose();
}

public class DependencyInjectionTests(CheckpointFolder folder) : IClassFixture<CheckpointFolder>
{
    private static readonly ChatOptions _short = new() { MaxOutputTokens = 3 };

    [Fact]
    public async Task A_host_gets_a_client_and_one_model_that_is_loaded_when_it_is_needed()
    {
        var logger = new RecordingLogger<SkylightModelProvider>();
        var progress = new Fractions();
        var services = new ServiceCollection();
        services.AddSingleton<ILogger<SkylightModelProvider>>(logger);
        services.AddSkylight(options =>
        {
            options.ModelDirectory = folder.Path;
            options.Model = new ChatModelOptions { CacheTokens = 1024 };
            options.CreateDevice = () => new CpuDevice();
            options.Progress = progress;
            options.Client =
                new SkylightChatClientOptions { Defaults = new GenerationOptions { Thinking = ThinkingMode.On } };
        }).AddSkylightChatClient();
        ChatModel model;
        await using (ServiceProvider provider = services.BuildServiceProvider(
            new ServiceProviderOptions { ValidateOnBuild = true, ValidateScopes = true }))
        {
            IChatClient client = provider.GetRequiredService<IChatClient>();
            Assert.Same(client, provider.GetRequiredService<IChatClient>());
            Assert.Equal("a-model", client.GetRequiredService<ChatClientMetadata>().DefaultModelId);
            Assert.Null(client.GetService<ChatModel>());
            Assert.Contains("GetAsync",
                Assert.Throws<InvalidOperationException>(() => provider.GetRequiredService<ChatModel>()).Message,
                StringComparison.Ordinal);
            Assert.Empty(logger.Entries);

            ChatResponse[] responses = await Task.WhenAll(
                Enumerable.Range(0, 3).Select(_ => client.GetResponseAsync("x", _short)));
            Assert.All(responses, response => Assert.Equal(3, response.Usage!.ReasoningTokenCount));
            model = provider.GetRequiredService<ChatModel>();
            Assert.Same(model, client.GetService<ChatModel>());
            Assert.Same(model, await provider.GetRequiredService<SkylightModelProvider>()
                .GetAsync(TestContext.Current.CancellationToken));
            Assert.Equal(1024, model.ContextTokens);
            Assert.Equal([7, 8], logger.Entries.Select(entry => entry.Event));
            Assert.Equal(1, progress.Last);
        }

        await Assert.ThrowsAsync<ObjectDisposedException>(() => model.CompleteAsync([Message.User("x")]));
    }

    [Fact]
    public async Task Models_under_keys_are_apart()
    {
        var services = new ServiceCollection();
        services.AddKeyedSkylight("small",
            options => (options.ModelDirectory, options.Model) = (folder.Path,
                new ChatModelOptions { CacheTokens = 512 })).AddKeyedSkylightChatClient("small");
        services.AddKeyedSkylight("large",
            options => (options.ModelDirectory, options.Model) = (folder.Path,
                new ChatModelOptions { CacheTokens = 1024 })).AddKeyedSkylightChatClient("large");
        await using ServiceProvider provider = services.BuildServiceProvider();
        foreach ((string key, int tokens) in ((string, int)[])[("small", 512), ("large", 1024)])
        {
            IChatClient client = provider.GetRequiredKeyedService<IChatClient>(key);
            await client.GetResponseAsync("x", _short, TestContext.Current.CancellationToken);
            Assert.Equal(tokens, client.GetRequiredService<ChatModel>().ContextTokens);
            Assert.Same(client.GetRequiredService<ChatModel>(), provider.GetRequiredKeyedService<ChatModel>(key));
        }

        Assert.Null(provider.GetService<IChatClient>());
    }

    [Fact]
    public void Options_are_checked_before_anything_is_loaded()
    {
        using var device = new CpuDevice();
        Dictionary<Action<SkylightOptions>, string> wrong = new()
        {
            [options => options.ModelDirectory = ""] = "ModelDirectory is not set",
            [options => options.ModelDirectory = Path.Combine(folder.Path, "nowhere")] = "there is no such folder",
            [options => (options.ModelDirectory, options.Model) = (folder.Path,
                new ChatModelOptions { Device = device })] = "use CreateDevice",
            [options => (options.ModelDirectory, options.Model) = (folder.Path,
                new ChatModelOptions { CacheTokens = 0 })] = "CacheTokens is 0; give 1 or more",
            [options => (options.ModelDirectory, options.Model) = (folder.Path,
                new ChatModelOptions { ImageCacheBytes = -1 })] = "ImageCacheBytes is -1; give 0 or more",
            [options => (options.ModelDirectory, options.Client) = (folder.Path, null!)] = "Client is null",
        };
        foreach ((Action<SkylightOptions> configure, string message) in wrong)
        {
            IServiceCollection services = new ServiceCollection().AddSkylight(configure);
            services.AddSkylightChatClient();
            using ServiceProvider provider = services.BuildServiceProvider();
            OptionsValidationException refused = Assert.Throws<OptionsValidationException>(
                provider.GetRequiredService<IChatClient>);
            Assert.Contains(message, refused.Message, StringComparison.Ordinal);
            // What a host calls when it starts.
            Assert.Throws<OptionsValidationException>(provider.GetRequiredService<IStartupValidator>().Validate);
        }
    }

    [Fact]
    public async Task A_loading_that_failed_is_tried_again()
    {
        var logger = new RecordingLogger<SkylightModelProvider>();
        int calls = 0;
        await using var provider = new SkylightModelProvider(
            "again", _ => calls++ == 0
                ? Task.FromException<ChatModel>(new CheckpointException("config.json", "is missing."))
                : Task.FromResult(ExtensionModel.Create("again")), logger);
        using var client = new SkylightChatClient(provider);
        await Assert.ThrowsAsync<CheckpointException>(() => client.GetResponseAsync("x", _short));
        Assert.Equal([7, 9], logger.Entries.Select(entry => entry.Event));
        Assert.NotNull(await client.GetResponseAsync("x", _short, TestContext.Current.CancellationToken));
        Assert.Equal(2, calls);
    }

    [Fact]
    public async Task Who_stops_waiting_does_not_stop_the_loading_and_closing_does()
    {
        var stopped = new TaskCompletionSource();
        var provider = new SkylightModelProvider("slow", async cancellationToken =>
        {
            try
            {
                await Task.Delay(Timeout.Infinite, cancellationToken);
            }
            finally
            {
                stopped.SetResult();
            }

            throw new InvalidOperationException("Not reached.");
        });
        using var cancellation = new CancellationTokenSource();
        Task<ChatModel> patient = provider.GetAsync(TestContext.Current.CancellationToken),
            impatient = provider.GetAsync(cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => impatient);
        Assert.False(patient.IsCompleted || stopped.Task.IsCompleted);
        await provider.DisposeAsync();
        await provider.DisposeAsync();
        Assert.True(stopped.Task.IsCompleted);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => patient);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => provider.GetAsync(TestContext.Current.CancellationToken));
    }

    private sealed class Fractions : IProgress<float>
    {
        public float Last { get; private set; }

        public void Report(float value) => Last = value;
    }
}
