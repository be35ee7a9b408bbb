using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.IO.Compression;
using System.Text;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Tests.Models;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Extensions;

/// <summary>A model of a few layers with the real vocabulary, and what chat clients send it.</summary>
internal static class ExtensionModel
{
    public const int EndOfTurn = 151645, TokensPerTile = 4, TileSize = 28;

    /// <summary>Every 16th token spells the end of a think block, so that a model of random weights ends its thinking.</summary>
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
        foreach (string parameter in (string[])["language.embedding.weight", "language.head.weight"])
        {
            // Far from uniform, so that what was read shows in what is written.
            float[] values = ParameterSet.Read(model.Device, model.Parameters[parameter]);
            ParameterSet.Write(model.Device, model.Parameters[parameter], [.. values.Select(value => value * (parameter.Contains("embedding", StringComparison.Ordinal) ? 30 : 10))]);
        }

        return new ChatModel(name, model, tokenizer ?? TokenizerFixture.Real, options ?? new ChatModelOptions { CacheTokens = 8192 });
    }

    /// <summary>A folder as it is downloaded.</summary>
    public static void WriteCheckpoint(string folder)
    {
        RandomCheckpoint.Write(folder, Configuration, StoredType.BFloat16, 1, new CheckpointWriterOptions { Naming = CheckpointNaming.Original });
        File.WriteAllBytes(Path.Combine(folder, "tokenizer.json"), TokenizerFixture.RealJson);
    }

    /// <summary>A PNG file of a gradient in some colour.</summary>
    public static byte[] Png(byte red, byte green, byte blue, int side = TileSize)
    {
        using var rows = new MemoryStream();
        using (var packed = new ZLibStream(rows, CompressionLevel.Fastest, leaveOpen: true))
        {
            for (int y = 0; y < side; y++)
            {
                packed.WriteByte(0);
                for (int x = 0; x < side; x++)
                    packed.Write([(byte)(red * x / side), (byte)(green * y / side), blue]);
            }
        }

        var file = new MemoryStream();
        file.Write([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]);
        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, side);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), side);
        (header[8], header[9]) = (8, 2);
        Chunk(file, "IHDR", header);
        Chunk(file, "IDAT", rows.ToArray());
        Chunk(file, "IEND", []);
        return file.ToArray();
    }

    private static void Chunk(MemoryStream file, string name, byte[] data)
    {
        byte[] content = [.. Encoding.ASCII.GetBytes(name), .. data];
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, data.Length);
        file.Write(number);
        file.Write(content);
        BinaryPrimitives.WriteUInt32BigEndian(number, Crc32(content));
        file.Write(number);
    }

    private static uint Crc32(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in data)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320u);
        }

        return ~crc;
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

        public ReadOnlySpan<byte> TokenBytes(int token) => token % ThinkEndStride == 0 ? _end : ((ITokenizer)TokenizerFixture.Real).TokenBytes(token);
    }
}
