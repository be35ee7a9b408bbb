using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Skylight.Chat;

namespace Skylight.Extensions.AI;

/// <summary>Registers models and chat clients in a host's container, which then owns them.</summary>
public static class SkylightServiceCollectionExtensions
{
    /// <summary>
    /// Registers a model: a <see cref="SkylightModelProvider"/>, which loads it when it is first asked for, and the
    /// <see cref="ChatModel"/> itself, which can be resolved once it is loaded. Options are checked when they are first
    /// used, or when the host starts.
    /// </summary>
    /// <param name="services">The container.</param>
    /// <param name="configure">Sets at least the folder of the model.</param>
    public static IServiceCollection AddSkylight(this IServiceCollection services, Action<SkylightOptions> configure)
    {
        AddOptions(services, Options.DefaultName, configure);
        services.TryAddSingleton(provider => MakeProvider(provider, Options.DefaultName));
        services.TryAddSingleton(provider => Loaded(provider.GetRequiredService<SkylightModelProvider>()));
        return services;
    }

    /// <summary>
    /// As <see cref="AddSkylight"/>, for one of several models: provider and model are registered under a key, which
    /// also names the options.
    /// </summary>
    /// <param name="services">The container.</param>
    /// <param name="key">The key.</param>
    /// <param name="configure">Sets at least the folder of the model.</param>
    public static IServiceCollection AddKeyedSkylight(this IServiceCollection services, string key,
        Action<SkylightOptions> configure)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        AddOptions(services, key, configure);
        services.TryAddKeyedSingleton(key, (provider, _) => MakeProvider(provider, key));
        services.TryAddKeyedSingleton(key,
            (provider, _) => Loaded(provider.GetRequiredKeyedService<SkylightModelProvider>(key)));
        return services;
    }

    /// <summary>
    /// Registers a <see cref="SkylightChatClient"/> as the <see cref="IChatClient"/>; its first request loads the model if
    /// nobody has.
    /// </summary>
    /// <param name="services">The container, with a model from <see cref="AddSkylight"/>.</param>
    /// <param name="lifetime">How long a client lives; they all share the model.</param>
    /// <returns>What adds function calls, caches, telemetry and logging before the client.</returns>
    /// <example>
    /// <code>
    /// services.AddSkylight(options => options.ModelDirectory = "InternVL3-1B");
    /// services.AddSkylightChatClient().UseFunctionInvocation().UseOpenTelemetry();
    /// </code>
    /// </example>
    public static ChatClientBuilder AddSkylightChatClient(
        this IServiceCollection services, ServiceLifetime lifetime = ServiceLifetime.Singleton) => services.AddChatClient(
        provider => MakeClient(provider, provider.GetRequiredService<SkylightModelProvider>(), Options.DefaultName),
        lifetime);

    /// <summary>As <see cref="AddSkylightChatClient"/>, under a key.</summary>
    /// <param name="services">The container, with a model from <see cref="AddKeyedSkylight"/>.</param>
    /// <param name="key">The model's key, and the client's.</param>
    /// <param name="lifetime">How long a client lives.</param>
    public static ChatClientBuilder AddKeyedSkylightChatClient(
        this IServiceCollection services, string key, ServiceLifetime lifetime = ServiceLifetime.Singleton)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return services.AddKeyedChatClient(
            key, provider => MakeClient(provider, provider.GetRequiredKeyedService<SkylightModelProvider>(key), key),
            lifetime);
    }

    private static void AddOptions(IServiceCollection services, string name, Action<SkylightOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        services.AddOptions<SkylightOptions>(name).Configure(configure).ValidateOnStart();
        services.TryAddEnumerable(
            ServiceDescriptor.Singleton<IValidateOptions<SkylightOptions>, SkylightOptionsValidator>());
    }

    private static SkylightModelProvider MakeProvider(IServiceProvider provider, string name) =>
        new(OptionsOf(provider, name), provider.GetService<ILogger<SkylightModelProvider>>());

    private static SkylightChatClient MakeClient(IServiceProvider provider, SkylightModelProvider model, string name) =>
        new(model, OptionsOf(provider, name).Client, provider.GetService<ILogger<SkylightChatClient>>());

    private static SkylightOptions OptionsOf(IServiceProvider provider, string name) =>
        provider.GetRequiredService<IOptionsMonitor<SkylightOptions>>().Get(name);

    private static ChatModel Loaded(SkylightModelProvider provider) =>
        provider.LoadedModel ?? throw new InvalidOperationException(
        $"The model '{provider.Name}' is not loaded yet, and a container cannot wait for it: call 'await " +
        $"services.GetRequiredService<{nameof(SkylightModelProvider)}>().{nameof(SkylightModelProvider.GetAsync)}()' " +
        $"when the program starts, or take the {nameof(SkylightModelProvider)} instead of the " +
        $"{nameof(ChatModel)}.");
}
