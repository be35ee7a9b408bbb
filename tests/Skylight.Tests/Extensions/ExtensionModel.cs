using System.Collections.Concurrent;
using System.Text;
using Skylight.Chat;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Tests.Chat;
using Skylight.Tests.Images;
using Skylight.Tests.Models;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Extensions;

/// <summary>A model of a few layers with the real vocabulary, and what chat clients send it.</summary>
internal static class ExtensionModel
{
    public const int EndOfTurn = 151645, TokensPerTile = 4, TileSize = 28;

    /// <summary>
    /// Every 16th token spells the end of a think block, so that a model of random weights ends its thinking.
    /// </summary>
    public const int ThinkEndStride = 16;

    public static ModelConfiguration Configuration { get; } = (ModelFamily.Configuration("tiny") with
    {
        Vision = TinyModel.Configuration.Vision with { ChannelCount = 3 },
        Language = TinyModel.Configuration.Language with { VocabularySize = 151674, MaxPositions = 8192 },
    }).Validate();

    public static ChatModel Create(string name, ITokenizer? tokenizer = null, ChatModelOptions? options = null)
    {
        var model = new VisionLanguageModel(Configuration, new CpuDevice());
        model.Initialize(5);
        TinyChatModel.Scale(model, "language.embedding.weight", 30);
        TinyChatModel.Scale(model, "language.head.weight", 10);
        return new ChatModel(name, model, tokenizer ?? TokenizerFixture.Real,
            options ?? new ChatModelOptions { CacheTokens = 8192 });
    }

    /// <summary>A PNG file of a gradient in some colour.</summary>
    public static byte[] Png(byte red, byte green, byte blue, int side = TileSize)
    {
        var rows = new List<byte>();
        for (int y = 0; y < side; y++)
        {
            rows.Add(0);
            for (int x = 0; x < side; x++)
                rows.AddRange([(byte)(red * x / side), (byte)(green * y / side), blue]);
        }

        return PngWriter.File(("IHDR", PngWriter.Header(side, side, 8, 2)), ("IDAT", PngWriter.Compress([.. rows])),
            ("IEND", []));
    }

    /// <summary>The real tokenizer, but some tokens end thinking.</summary>
    public sealed class ThinkEndingTokenizer : ITokenizer
    {
        private static readonly byte[] _end = Encoding.UTF8.GetBytes(SpecialTokens.ThinkEnd + "\n\n");

        public int VocabularySize => TokenizerFixture.Real.VocabularySize;

        /// <summary>The threads that called <see cref="Encode"/>.</summary>
        public ConcurrentBag<Thread> EncodingThreads { get; } = [];

        public int[] Encode(string text, bool allowSpecial = false)
        {
            EncodingThreads.Add(Thread.CurrentThread);
            return TokenizerFixture.Real.Encode(text, allowSpecial);
        }

        public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false)
        {
            var bytes = new List<byte>();
            foreach (int token in tokens)
            {
                if (!skipSpecial || !IsSpecial(token))
                    bytes.AddRange(TokenBytes(token));
            }

            return Encoding.UTF8.GetString([.. bytes]);
        }

        public int? TokenId(string specialToken) => ((ITokenizer)TokenizerFixture.Real).TokenId(specialToken);

        public bool IsSpecial(int token) => token % ThinkEndStride != 0 && TokenizerFixture.Real.IsSpecial(token);

        public ReadOnlySpan<byte> TokenBytes(int token) => token % ThinkEndStride == 0 ? _end
            : ((ITokenizer)TokenizerFixture.Real).TokenBytes(token);
    }
}
