using System.Globalization;
using System.Numerics.Tensors;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Images;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Bench.Models;

/// <summary>
/// Whether a question about a picture gives the same features and tokens in llama.cpp and here.
/// </summary>
/// <remarks>
/// llama.cpp puts the class token of InternVL's encoder behind the patches and adds position embeddings by row, so that
/// each patch has the position of the one before it and the first has that of the class token: its converter, and this
/// repository's, write the rows as the checkpoint has them, the class token's first. So both readings are compared: the
/// model as it is, and with rows moved as llama.cpp reads them.
/// </remarks>
internal sealed class PictureParity(VisionLanguageModel model, ITokenizer tokenizer, LlamaCpp llama,
    LlamaCppPictures pictures, int newTokens)
{
    private const string Before = "<|im_start|>user\n", After = "\nWhat is in the picture?<|im_end|>\n<|im_start|>assistant\n";

    // llama.cpp's GELU is a table of float16, and activations are rounded for weights of F16 and fewer bits; other pixels or
    // positions are beyond it.
    private const double Near = 0.02;

    /// <summary>Compares and prints.</summary>
    /// <param name="file">A picture; null for one that is made here, of the size of a tile, so that neither resizes it.</param>
    /// <returns>How many comparisons failed.</returns>
    public int Differences(string? file)
    {
        ModelConfiguration configuration = model.Configuration;
        int size = configuration.Vision.ImageHeight;
        RgbImage picture = file is null ? Made(size) : ImageDecoders.Standard.Decode(File.ReadAllBytes(file));
        ImagePreprocessing pixels = configuration.Preprocessing;
        ImageTile[] tiles = [.. new ImageProcessor(
            new ImageTiling { TileSize = size, MinimumTiles = pixels.MinimumTiles, MaximumTiles = pixels.MaximumTiles },
            Channels(pixels.Mean), Channels(pixels.Deviation)).Process(picture).Pixels
            .Select(tile => new ImageTile(tile, size, size))];
        int place = tokenizer.RequiredTokenId(SpecialTokens.ImageContext), count = tiles.Length * configuration.TokensPerTile;
        int[] tokens =
        [
            .. tokenizer.Encode(Before + SpecialTokens.ImageStart, allowSpecial: true), .. Enumerable.Repeat(place, count),
            .. tokenizer.Encode(SpecialTokens.ImageEnd + After, allowSpecial: true),
        ];
        llama.Clear();
        IReadOnlyList<PromptPiece> pieces = pictures.Read(Before + pictures.Marker + After, picture);
        int[] theirs = [.. pieces.SelectMany(piece => piece.Tokens ?? Enumerable.Repeat(place, piece.Count))];
        bool same = tokens.AsSpan().SequenceEqual(theirs);
        Console.WriteLine($"picture of {picture.Width}×{picture.Height}: {tiles.Length} tiles, {tokens.Length} tokens, "
            + (same ? "the same" : $"{theirs.Length} in llama.cpp"));
        if (!same)
            return 1;
        float[] features = [.. pieces.Where(piece => piece.Features is not null).SelectMany(piece => piece.Features!)];
        double own = Distance(features, tiles);
        MovePositions(1);
        double moved = Distance(features, tiles);
        Console.WriteLine(Text(
            $"features differ by {own:G2} of their length; by {moved:G2} where position embeddings are added by row, the class token's last"));
        if (own <= moved)
            MovePositions(-1);
        if (Math.Min(own, moved) > Near)
            return 1;
        using var engine = new GenerationEngine(model, tokens.Length + newTokens);
        Completion completion = engine.Generate([new GenerationRequest(new TokenSequence(tokens, tiles))],
            new SamplingOptions { Temperature = 0, MaxOutputTokens = newTokens })[0][0];
        return LlamaCppParity.GoOn("question about the picture", model, llama, completion, tokens.Length) ? 0 : 1;
    }

    private static float[] Channels(ColorChannels channels) =>
        [(float)channels.Red, (float)channels.Green, (float)channels.Blue];

    private static string Text(FormattableString text) => FormattableString.Invariant(text);

    /// <summary>Shapes and noise, so that no two patches are alike.</summary>
    private static RgbImage Made(int size)
    {
        var random = new Random(11);
        var pixels = new byte[3 * size * size];
        for (int y = 0; y < size; y++)
        {
            for (int x = 0; x < size; x++)
            {
                bool inside = Math.Pow(x - size * 0.4, 2) + Math.Pow(y - size * 0.6, 2) < size * size / 12.0;
                Span<byte> pixel = pixels.AsSpan(3 * (y * size + x), 3);
                pixel[0] = (byte)(inside ? 210 : 255 * x / size);
                pixel[1] = (byte)(inside ? 40 : 255 * y / size);
                pixel[2] = (byte)(random.Next(64) + (x / 16 + y / 16) % 2 * 128);
            }
        }

        return new RgbImage(size, size, pixels);
    }

    /// <summary>‖ours − theirs‖ / ‖theirs‖.</summary>
    private double Distance(float[] theirs, ImageTile[] tiles)
    {
        using var workspace = new Workspace(model.Device);
        var step = new ImageEncodingStep(model, workspace,
            new ImageEncodingShape(tiles.Length, tiles[0].Height, tiles[0].Width));
        ImageFeatures[] features = [.. tiles.Select(tile => new ImageFeatures(tile, null))];
        step.Run(features, CancellationToken.None);
        float[] ours = [.. features.SelectMany(picture => picture.Rows!)];
        return ours.Length == theirs.Length
            ? TensorPrimitives.Distance<float>(ours, theirs) / TensorPrimitives.Norm<float>(theirs)
            : throw new InvalidOperationException($"{ours.Length} features' elements here, {theirs.Length} in llama.cpp.");
    }

    /// <summary>Moves rows down: by 1, each patch has the row before its own, and the class token the last.</summary>
    private void MovePositions(int by)
    {
        PersistentTensor positions = model.Parameters["vision.position_embedding"];
        float[] rows = PersistentTensors.Read(model.Device, positions);
        int width = positions.Type.Shape.Columns, split = by > 0 ? rows.Length - width : width;
        PersistentTensors.Write(model.Device, positions, [.. rows.AsSpan(split), .. rows.AsSpan(0, split)]);
    }
}
