using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Training.Rewards;

namespace Skylight.Training;

/// <summary>
/// Saves groups of completions and reads them again, bit for bit: what a resumed run needs of
/// <see cref="GrpoTrainer.KeptGroups"/>.
/// </summary>
/// <remarks>
/// Little-endian: a mark, the different pictures once each, then the groups. A picture's pixels are most of it: 2.4 MB
/// for a tile of 448×448.
/// </remarks>
public static class RolloutGroups
{
    private const ulong Mark = 0x3250524754484C53; // "SLHTGRP2"

    /// <summary>Writes groups.</summary>
    /// <param name="stream">Where to; stays open.</param>
    /// <param name="groups">The groups.</param>
    public static void Save(Stream stream, IReadOnlyList<RolloutGroup> groups)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(groups);
        using var writer = new BinaryWriter(stream, Encoding.UTF8, leaveOpen: true);
        var pictures = new Dictionary<ImageTile, int>(ReferenceEqualityComparer.Instance);
        foreach (ImageTile tile in groups.SelectMany(group => group.Rollouts).SelectMany(rollout => rollout.Prompt.Images))
            pictures.TryAdd(tile, pictures.Count);
        writer.Write(Mark);
        writer.Write(pictures.Count);
        foreach (ImageTile tile in pictures.Keys)
        {
            writer.Write(tile.Height);
            writer.Write(tile.Width);
            Write<float>(writer, tile.Pixels);
        }

        writer.Write(groups.Count);
        foreach (RolloutGroup group in groups)
        {
            writer.Write(group.Step);
            writer.Write(group.Temperature);
            writer.Write(group.Rollouts.Count);
            foreach (Rollout rollout in group.Rollouts)
                Write(writer, rollout, pictures);
        }
    }

    /// <summary>Reads groups.</summary>
    /// <param name="stream">What <see cref="Save"/> wrote, from where that began; stays open.</param>
    /// <exception cref="InvalidDataException">It is something else, or not complete.</exception>
    public static IReadOnlyList<RolloutGroup> Load(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using var reader = new BinaryReader(stream, Encoding.UTF8, leaveOpen: true);
        try
        {
            if (reader.ReadUInt64() != Mark)
                throw new InvalidDataException(
                    "These are no saved groups of completions, or those of another version: go on without them (the " +
                    "next step then draws its own).");
            var pictures = new List<ImageTile>();
            for (int left = Count(reader); left > 0; left--)
            {
                int height = reader.ReadInt32(), width = reader.ReadInt32();
                pictures.Add(new ImageTile(Read<float>(reader), height, width));
            }

            var groups = new List<RolloutGroup>();
            var prompts = new Dictionary<TokenSequence, TokenSequence>(SequenceComparer.Instance);
            for (int left = Count(reader); left > 0; left--)
            {
                int step = reader.ReadInt32();
                float temperature = reader.ReadSingle();
                var rollouts = new List<Rollout>();
                for (int member = Count(reader); member > 0; member--)
                    rollouts.Add(ReadRollout(reader, pictures, prompts));
                groups.Add(new RolloutGroup(step, temperature, rollouts));
            }

            return groups;
        }
        catch (Exception exception) when (exception is EndOfStreamException or ArgumentException)
        {
            throw new InvalidDataException(
                $"The saved groups of completions are damaged: {exception.Message} Go on without them (the next step " +
                $"then draws its own).", exception);
        }
    }

    private static void Write(BinaryWriter writer, Rollout rollout, Dictionary<ImageTile, int> pictures)
    {
        Write<int>(writer, rollout.Prompt.Tokens);
        writer.Write(rollout.Prompt.TextFrom);
        Write<int>(writer, [.. rollout.Prompt.Images.Select(tile => pictures[tile])]);
        Write<int>(writer, rollout.Completion.Tokens);
        Write<float>(writer, rollout.Completion.LogProbabilities);
        Write<float>(writer, rollout.Completion.Entropies);
        writer.Write((int)rollout.Completion.FinishReason);
        writer.Write(rollout.Reward.Total);
        writer.Write(rollout.Reward.Components.Count);
        for (int component = 0; component < rollout.Reward.Components.Count; component++)
        {
            writer.Write(rollout.Reward.Components[component]);
            writer.Write(rollout.Reward.Values[component]);
        }

        WriteRequest(writer, rollout.Request);
        writer.Write(rollout.Advantage);
        writer.Write(rollout.ReferenceLogProbabilities is not null);
        Write<float>(writer, rollout.ReferenceLogProbabilities ?? []);
    }

    private static Rollout ReadRollout(BinaryReader reader, List<ImageTile> pictures,
        Dictionary<TokenSequence, TokenSequence> prompts)
    {
        int[] tokens = Read<int>(reader);
        int textFrom = reader.ReadInt32();
        var prompt = new TokenSequence(tokens,
            [.. Read<int>(reader).Select(index => pictures[index])])
        { TextFrom = textFrom };
        if (!prompts.TryAdd(prompt, prompt))
            prompt = prompts[prompt];
        var completion = new Completion(Read<int>(reader), Read<float>(reader), Read<float>(reader),
            (FinishReason)reader.ReadInt32());
        if (completion.LogProbabilities.Length != completion.Tokens.Length
            || completion.Entropies.Length != completion.Tokens.Length)
            throw new ArgumentException("A completion has more or fewer numbers than tokens.");
        double total = reader.ReadDouble();
        var names = new string[Count(reader)];
        var values = new double[names.Length];
        for (int component = 0; component < names.Length; component++)
            (names[component], values[component]) = (reader.ReadString(), reader.ReadDouble());
        var reward = new RewardBreakdown(total, names, values);
        RewardRequest? request = ReadRequest(reader);
        float advantage = reader.ReadSingle();
        bool hasReference = reader.ReadBoolean();
        float[] reference = Read<float>(reader);
        return new Rollout(prompt, completion, reward, advantage)
        {
            Request = request,
            ReferenceLogProbabilities = hasReference ? reference : null,
        };
    }

    /// <summary>What logs show of it; the row's answers and columns have been looked at.</summary>
    private static void WriteRequest(BinaryWriter writer, RewardRequest? request)
    {
        writer.Write(request is not null);
        if (request is null)
            return;
        foreach (string text in (string[])[request.Id, request.Question, request.PromptSuffix, request.Completion])
            writer.Write(text);
        writer.Write(request.Finished);
        writer.Write(request.TokenCount);
        writer.Write(request.MaximumTokens);
    }

    private static RewardRequest? ReadRequest(BinaryReader reader) => !reader.ReadBoolean() ? null : new RewardRequest
    {
        Id = reader.ReadString(),
        Question = reader.ReadString(),
        PromptSuffix = reader.ReadString(),
        Completion = reader.ReadString(),
        Finished = reader.ReadBoolean(),
        TokenCount = reader.ReadInt32(),
        MaximumTokens = reader.ReadInt32(),
    };

    private static void Write<T>(BinaryWriter writer, ReadOnlySpan<T> elements)
        where T : unmanaged
    {
        writer.Write(elements.Length);
        writer.Write(MemoryMarshal.AsBytes(elements));
    }

    /// <summary>Reads in pieces, so that a damaged length reserves no more than there is to read.</summary>
    private static T[] Read<T>(BinaryReader reader)
        where T : unmanaged
    {
        const int Piece = 1 << 20;
        int left = Count(reader);
        var elements = new List<T>();
        while (left > 0)
        {
            int count = Math.Min(left, Piece);
            int length = count * Unsafe.SizeOf<T>();
            byte[] bytes = reader.ReadBytes(length);
            if (bytes.Length < length)
                throw new EndOfStreamException("It ends too early.");
            elements.AddRange(MemoryMarshal.Cast<byte, T>(bytes));
            left -= count;
        }

        return [.. elements];
    }

    private static int Count(BinaryReader reader)
    {
        int count = reader.ReadInt32();
        return count >= 0 ? count : throw new ArgumentException("A length is negative.");
    }

    /// <summary>Prompts by what they hold, so that the completions of a group share one again.</summary>
    private sealed class SequenceComparer : IEqualityComparer<TokenSequence>
    {
        public static SequenceComparer Instance { get; } = new();

        public bool Equals(TokenSequence? x, TokenSequence? y) =>
            x!.TextFrom == y!.TextFrom && x.Tokens.AsSpan().SequenceEqual(y.Tokens)
                && x.Images.SequenceEqual(y.Images, ReferenceEqualityComparer.Instance);

        public int GetHashCode(TokenSequence obj) =>
            HashCode.Combine(obj.Tokens.Length, obj.Images.Count, obj.Tokens.Length > 0 ? obj.Tokens[^1] : 0);
    }
}
