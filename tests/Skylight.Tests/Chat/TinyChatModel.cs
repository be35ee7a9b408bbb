using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Images;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Text;

namespace Skylight.Tests.Chat;

/// <summary>
/// A random model with the real vocabulary, the real tokenizer and real tiles; narrow, so that it answers in
/// milliseconds.
/// </summary>
internal static class TinyChatModel
{
    /// <summary>
    /// The model as InternVL3 or, thinking, as Skywork-R1V3; on the CPU unless the options name another device.
    /// </summary>
    public static ChatModel Create(ChatModelOptions? options = null, bool thinking = false,
        Func<ModelConfiguration, ModelConfiguration>? change = null)
    {
        ModelConfiguration configuration = ModelFamily.Configuration("tiny");
        if (thinking)
            configuration = configuration with { ModelType = "skywork_chat", Architecture = "SkyworkR1VChatModel" };
        configuration = change?.Invoke(configuration) ?? configuration;
        var model = new VisionLanguageModel(configuration, options?.Device ?? new CpuDevice(), DataType.BFloat16);
        model.Initialize(5);
        Scale(model, "language.embedding.weight", 30);
        Scale(model, "connector.linear2.weight", 30);
        return new ChatModel("tiny", model, options?.Tokenizer ?? TokenizerFixture.Real,
            options ?? new ChatModelOptions { CacheTokens = 8192 });
    }

    /// <summary>A picture of noise; a square one is one tile.</summary>
    public static RgbImage Picture(int seed, int width = 48, int height = 48)
    {
        var pixels = new byte[3 * width * height];
        var random = new CounterRandom((ulong)seed, 0x91C7);
        for (int index = 0; index < pixels.Length; index++)
            pixels[index] = (byte)random.Next(256);
        return new RgbImage(width, height, pixels);
    }

    /// <summary>A folder as it is downloaded.</summary>
    public static void WriteCheckpoint(string folder, ModelConfiguration? configuration = null)
    {
        RandomCheckpoint.Write(folder, configuration ?? ModelFamily.Configuration("tiny"), StoredType.BFloat16, 1,
            new CheckpointWriterOptions { Naming = CheckpointNaming.Original });
        File.WriteAllBytes(Path.Combine(folder, "tokenizer.json"), TokenizerFixture.RealJson);
    }

    /// <summary>Makes a parameter larger, so that what was read shows in what is written.</summary>
    public static void Scale(VisionLanguageModel model, string name, float factor)
    {
        float[] values = PersistentTensors.Read(model.Device, model.Parameters[name]);
        PersistentTensors.Write(model.Device, model.Parameters[name], [.. values.Select(value => value * factor)]);
    }
}
