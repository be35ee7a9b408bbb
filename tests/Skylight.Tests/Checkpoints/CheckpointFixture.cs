using System.Buffers.Binary;
using System.Text;
using Skylight.Checkpoints;
using Skylight.Models;

namespace Skylight.Tests.Checkpoints;

/// <summary>The golden checkpoints, and small models for the tests of this room.</summary>
internal static class CheckpointFixture
{
    public static readonly string[] GoldenDirectories = ["vit300m-style/hf", "vit300m-style/original", "vit6b-style/hf",
        "vit6b-style/original", "qwen3-style/hf", "qwen3-style/original"];

    /// <summary>The namings in which safetensors are written.</summary>
    public static readonly CheckpointNaming[] Namings =
        [.. Enum.GetValues<CheckpointNaming>().Where(naming => naming != CheckpointNaming.Gguf)];

    /// <summary>
    /// The policy objectives whose gradients a model's dump holds: all of them of one model, one of the others, whose dumps
    /// have only the losses of the rest.
    /// </summary>
    public static string[] PolicyGradients(string model) => model switch
    {
        "vit300m-style" => ["grpo.constant_kl1.grad", "grpo.sequence_mean.grad", "grpo.token_mean_kl3.grad"],
        "vit6b-style" or "qwen3-style" => ["grpo.sequence_mean.grad"],
        _ => throw new ArgumentException($"There is no golden model {model}.", nameof(model)),
    };

    /// <summary>A model small enough to write in a test, with unequal sizes everywhere so that a mix-up shows.</summary>
    public static ModelConfiguration Small(bool tied = false, NormKind norm = NormKind.LayerNorm,
        LanguageModelKind kind = LanguageModelKind.Qwen2) => new()
        {
            Vision = new VisionConfiguration
            {
                HiddenSize = 12,
                LayerCount = 2,
                HeadCount = 3,
                IntermediateSize = 20,
                ImageHeight = 28,
                ImageWidth = 84,
                PatchHeight = 7,
                PatchWidth = 7,
                ChannelCount = 1,
                NormKind = norm,
                QueryKeyNorm = norm == NormKind.RmsNorm,
                QkvBias = norm == NormKind.LayerNorm,
            },
            Language = new LanguageConfiguration
            {
                Kind = kind,
                HiddenSize = 24,
                LayerCount = 3,
                HeadCount = 4,
                KeyValueHeadCount = 2,
                HeadDimension = kind == LanguageModelKind.Qwen3 ? 10 : 6,
                IntermediateSize = 40,
                VocabularySize = 50,
                RopeTheta = 12345.5,
                MaxPositions = 128,
                TieWordEmbeddings = tied,
            },
            ImageTokenId = 49,
            StopTokenIds = [3, 5],
        };

    /// <summary>The bytes of a safetensors file with any header, honest or not.</summary>
    public static byte[] Raw(string header, int dataBytes, long? claimedLength = null)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        byte[] file = new byte[8 + json.Length + dataBytes];
        BinaryPrimitives.WriteInt64LittleEndian(file, claimedLength ?? json.Length);
        json.CopyTo(file, 8);
        for (int i = 0; i < dataBytes; i++)
            file[8 + json.Length + i] = (byte)(i * 7 + 1);
        return file;
    }
}
