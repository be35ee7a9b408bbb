using Microsoft.Extensions.Options;
using Skylight.Chat;
using Skylight.Execution;
using Skylight.Hub;

namespace Skylight.Extensions.AI;

/// <summary>How a host loads and uses a model.</summary>
public sealed class SkylightOptions
{
    /// <summary>
    /// The folder with config.json, tokenizer.json and the safetensors files, or a repository of the hub, OWNER/NAME or
    /// OWNER/NAME@REVISION, which is downloaded when the model is loaded, unless it is in the cache
    /// (<see cref="ChatModelOptions.Hub"/>).
    /// </summary>
    public string ModelDirectory { get; set; } = "";

    /// <summary>How the model is loaded and served. Its device is given by <see cref="CreateDevice"/>.</summary>
    public ChatModelOptions Model { get; set; } = new();

    /// <summary>
    /// Opens the device, when the model is loaded; it is closed together with the model. The CPU if null. Nothing falls
    /// back to another device: an error stays one.
    /// </summary>
    public Func<Device>? CreateDevice { get; set; }

    /// <summary>Hears the fraction of bytes read while the model is loaded.</summary>
    public IProgress<float>? Progress { get; set; }

    /// <summary>
    /// How chat clients work; <see cref="SkylightChatClientOptions.OwnsModel"/> is not looked at, because the container
    /// owns the model.
    /// </summary>
    public SkylightChatClientOptions Client { get; set; } = new();
}

/// <summary>Says what is wrong with options before gigabytes are read.</summary>
internal sealed class SkylightOptionsValidator : IValidateOptions<SkylightOptions>
{
    public ValidateOptionsResult Validate(string? name, SkylightOptions options)
    {
        var failures = new List<string>();
        if (string.IsNullOrWhiteSpace(options.ModelDirectory))
            failures.Add(
                $"{nameof(SkylightOptions.ModelDirectory)} is not set: give the folder of a checkpoint, or a " +
                $"repository of the hub (OWNER/NAME).");
        else if (!Directory.Exists(options.ModelDirectory) && !ModelSource.IsRepository(options.ModelDirectory)
            && !(ModelSource.IsGguf(options.ModelDirectory) && File.Exists(options.ModelDirectory)))
            failures.Add(
                $"{nameof(SkylightOptions.ModelDirectory)} is '{options.ModelDirectory}', and there is no such " +
                $"folder or GGUF file, nor is it a repository of the hub (OWNER/NAME).");
        if (options.Client is null)
            failures.Add($"{nameof(SkylightOptions.Client)} is null.");
        if (options.Model is { } model)
            Check(model, failures);
        else
            failures.Add($"{nameof(SkylightOptions.Model)} is null.");
        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }

    private static void Check(ChatModelOptions model, List<string> failures)
    {
        if (model.Device is not null)
            failures.Add(
                $"{nameof(SkylightOptions.Model)}.{nameof(ChatModelOptions.Device)} is set: use " +
                $"{nameof(SkylightOptions.CreateDevice)}, so that the device is opened when the model is loaded.");
        Positive(model.CacheTokens, nameof(ChatModelOptions.CacheTokens));
        Positive(model.ContextTokens, nameof(ChatModelOptions.ContextTokens));
        Positive(model.PrefillTokens, nameof(ChatModelOptions.PrefillTokens));
        Positive(model.PrefillTokensBesideDecoding, nameof(ChatModelOptions.PrefillTokensBesideDecoding));
        Positive(model.MaximumRequests, nameof(ChatModelOptions.MaximumRequests));
        NotNegative(model.MaximumImages, nameof(ChatModelOptions.MaximumImages));
        NotNegative(model.ImageCacheBytes, nameof(ChatModelOptions.ImageCacheBytes));

        void Positive(int? value, string name)
        {
            if (value < 1)
                failures.Add($"{nameof(SkylightOptions.Model)}.{name} is {value}; give 1 or more.");
        }

        void NotNegative(long value, string name)
        {
            if (value < 0)
                failures.Add($"{nameof(SkylightOptions.Model)}.{name} is {value}; give 0 or more.");
        }
    }
}
