using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>A number for each colour.</summary>
/// <param name="Red">Of red, in 0…1.</param>
/// <param name="Green">Of green.</param>
/// <param name="Blue">Of blue.</param>
public readonly record struct ColorChannels(double Red, double Green, double Blue);

/// <summary>
/// How a picture becomes tiles, as far as the checkpoint says: config.json in the original form,
/// preprocessor_config.json or processor_config.json in that of transformers. The size of a tile is
/// <see cref="VisionConfiguration.ImageHeight"/> × <see cref="VisionConfiguration.ImageWidth"/>.
/// </summary>
public sealed record ImagePreprocessing
{
    private const int LargestTiles = 1024;

    private static readonly ConfigurationMembers s_processorMembers = new(
        ["min_patches", "max_patches", "image_mean", "image_std", "resample", "size", "do_center_crop", "crop_size"],
        // How tensors are handed over, where it runs, what is not padded, and crop_to_patches: the processor of this
        // model overrules it and always cuts into tiles.
        [
            "crop_to_patches", "image_processor_type", "processor_class", "feature_extractor_type", "data_format",
            "input_data_format", "return_tensors", "device", "disable_grouping",
            "default_to_square", "pad_size", "do_convert_rgb",
        ],
        [
            ("do_resize", "true"), ("do_rescale", "true"), ("do_normalize", "true"), ("do_pad", "false"),
            ("use_thumbnail", "true"),
        ]);

    /// <summary>
    /// Whether a picture is cut into several tiles (<c>dynamic_image_size</c>); without, it is squeezed into one.
    /// </summary>
    public bool IsTiled { get; init; } = true;

    /// <summary>The fewest tiles of a picture (<c>min_dynamic_patch</c>, <c>min_patches</c>).</summary>
    public int MinimumTiles { get; init; } = 1;

    /// <summary>
    /// The most tiles of a picture, its thumbnail not counted (<c>max_dynamic_patch</c>, <c>max_patches</c>).
    /// </summary>
    public int MaximumTiles { get; init; } = 12;

    /// <summary>Whether a picture of several tiles is followed by one tile of the whole (<c>use_thumbnail</c>).</summary>
    public bool HasThumbnail { get; init; } = true;

    /// <summary>What is subtracted from a colour in 0…1.</summary>
    public ColorChannels Mean { get; init; } = new(0.485, 0.456, 0.406);

    /// <summary>What the difference is divided by.</summary>
    public ColorChannels Deviation { get; init; } = new(0.229, 0.224, 0.225);

    internal static ImagePreprocessing ParseOriginal(JsonSource json, JsonSource? preprocessor)
    {
        json.Demand("pad2square", json.Boolean("pad2square", false), false);
        return ParseColors(ParseTiles(json,
            new ImagePreprocessing { IsTiled = false, MaximumTiles = 6, HasThumbnail = false }), preprocessor);
    }

    /// <summary>
    /// config.json has these fields only where this library wrote it; else they are the image processor's.
    /// </summary>
    internal static ImagePreprocessing ParseHuggingFace(JsonSource json, JsonSource? preprocessor,
        VisionConfiguration vision, int tokensPerTile)
    {
        var preprocessing = new ImagePreprocessing();
        if (preprocessor is { } source)
        {
            preprocessing = preprocessing with
            {
                MinimumTiles = source.Integer("min_patches", preprocessing.MinimumTiles, 1, LargestTiles),
                MaximumTiles = source.Integer("max_patches", preprocessing.MaximumTiles, 1, LargestTiles),
            };
            if (source.Has("resample") && source.Integer("resample", 3) is var filter and not 3)
                throw new CheckpointException(source.File,
                    $"'{source.Path}resample' is {filter}; supported: 3, which is bicubic.");
            DemandSize(source, "size", vision);
            // A tile that is cropped to its own size stays what it is.
            if (source.Boolean("do_center_crop", false))
                DemandSize(source, "crop_size", vision);
            s_processorMembers.Check(source, ("rescale_factor", 1.0 / 255), ("image_seq_length", tokensPerTile));
        }

        return ParseColors(ParseTiles(json, preprocessing), preprocessor);
    }

    internal void Validate(string file)
    {
        if (MinimumTiles < 1 || MaximumTiles < MinimumTiles || MaximumTiles > LargestTiles)
            throw new CheckpointException(file,
                $"'min_dynamic_patch' is {MinimumTiles} and 'max_dynamic_patch' is {MaximumTiles}; supported: from 1 to {LargestTiles}, the first not above the second.");
        foreach (double deviation in (ReadOnlySpan<double>)[Deviation.Red, Deviation.Green, Deviation.Blue])
        {
            if (!double.IsFinite(deviation) || deviation <= 0)
                throw new CheckpointException(file,
                    FormattableString.Invariant($"'image_std' has {deviation}; supported: positive numbers."));
        }
    }

    /// <summary>
    /// Refuses a size that is not a tile's: a number, an object with height and width, or one with the shortest edge.
    /// </summary>
    private static void DemandSize(JsonSource json, string field, VisionConfiguration vision)
    {
        if (!json.Has(field))
            return;
        (int height, int width) = (0, 0);
        if (json.Element.GetProperty(field).ValueKind != JsonValueKind.Object)
            height = width = json.Integer(field, 0);
        else if (json.RequiredObject(field) is var size && size.Has("shortest_edge"))
            height = width = size.Integer("shortest_edge", 0);
        else
            (height, width) = (size.Integer("height", 0), size.Integer("width", 0));
        if ((height, width) != (vision.ImageHeight, vision.ImageWidth))
            throw new CheckpointException(json.File,
                $"'{json.Path}{field}' is {height}×{width} (height, width); supported: 'vision_config.image_size' ([{vision.ImageHeight}, {vision.ImageWidth}]).");
    }

    private static ImagePreprocessing ParseTiles(JsonSource json, ImagePreprocessing defaults) => defaults with
    {
        IsTiled = json.Boolean("dynamic_image_size", defaults.IsTiled),
        MinimumTiles = json.Integer("min_dynamic_patch", defaults.MinimumTiles, 1, LargestTiles),
        MaximumTiles = json.Integer("max_dynamic_patch", defaults.MaximumTiles, 1, LargestTiles),
        HasThumbnail = json.Boolean("use_thumbnail", defaults.HasThumbnail),
        Mean = ParseChannels(json, "image_mean", defaults.Mean),
        Deviation = ParseChannels(json, "image_std", defaults.Deviation),
    };

    private static ImagePreprocessing ParseColors(ImagePreprocessing preprocessing, JsonSource? preprocessor) =>
        preprocessor is not { } source ? preprocessing : preprocessing with
        {
            Mean = ParseChannels(source, "image_mean", preprocessing.Mean),
            Deviation = ParseChannels(source, "image_std", preprocessing.Deviation),
        };

    private static ColorChannels ParseChannels(JsonSource json, string field, ColorChannels otherwise)
    {
        double[] values = [.. json.Numbers(field)];
        return values.Length switch
        {
            0 when !json.Has(field) => otherwise,
            1 => new ColorChannels(values[0], values[0], values[0]),
            3 => new ColorChannels(values[0], values[1], values[2]),
            _ => throw new CheckpointException(json.File,
                $"'{json.Path}{field}' has {values.Length} numbers; supported: one, or one for each of red, green and blue."),
        };
    }
}
