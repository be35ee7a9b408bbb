using System.Globalization;
using System.Text;

namespace Skylight.Cli;

/// <summary>Writes the facts for people.</summary>
internal static class InfoText
{
    public static string Format(CheckpointInfo info)
    {
        var text = new StringBuilder();
        Line("model", $"{info.Architecture} ({info.ModelType})");
        Line("vision", info.Vision);
        Line("language", info.Language);
        Line("parameters", $"{Billions(info.Parameters)}, {Gigabytes(info.Bytes)} in {info.DataType}");
        foreach (ModuleInfo module in info.Modules)
            Line("", string.Create(CultureInfo.InvariantCulture,
                $"{module.Name,-20} {Billions(module.Parameters),12} {Gigabytes(module.Bytes),10}{OnDisk(module)}"));
        Line("weights", info.Weights.Problem is { } problem
            ? $"cannot be loaded: {Indented(problem)}"
            : string.Create(CultureInfo.InvariantCulture,
                $"{info.Weights.Files} {(info.Weights.Files == 1 ? "file" : "files")}, {Gigabytes(info.Weights.Bytes)} of {string.Join(", ", info.Weights.DataTypes)}, {info.Weights.Naming} naming"));
        Line("positions",
            string.Create(CultureInfo.InvariantCulture, $"{info.Rope.MaxPositions}, RoPE base {info.Rope.Theta}")
            + (info.Rope is { Factor: { } factor, TrainedPositions: { } trained } ? string.Create(
                CultureInfo.InvariantCulture,
                $"; {info.Rope.Scaling} scaling by {factor} {(info.Rope.MaxPositions > trained ? $"from {trained} on, for all sequences" : "changes nothing up to there, and longer prompts are refused")}") : ""));
        PictureInfo pictures = info.Pictures;
        Line("pictures", $"tiles of {pictures.TileHeight}×{pictures.TileWidth}, {pictures.TokensPerTile} tokens each, "
            + (pictures.IsTiled
                ? $"{pictures.MinimumTiles} to {pictures.MaximumTiles}{(pictures.HasThumbnail ? " and a thumbnail" : "")}" : "one to a picture"));
        Line("template", info.Template ?? "not named in config.json");
        Line("stop tokens", info.StopTokenIds.Length > 0 ? string.Join(", ", info.StopTokenIds) : "none named");
        Line("image token", info.ImageTokenId is { } id ? $"{id}" : "not named; the tokenizer knows it as <IMG_CONTEXT>");
        Line("key-value cache",
            string.Create(CultureInfo.InvariantCulture,
                $"{info.KeyValueBytesPerToken:N0} bytes for each token on {info.Device}"));
        foreach (string warning in info.Warnings)
            Line("not used", warning);
        foreach (PlanInfo plan in info.Plans)
        {
            text.AppendLine();
            text.AppendLine(plan.Task);
            if (plan.Problem is { } reason)
            {
                Line("", $"cannot be planned: {Indented(reason)}");
                continue;
            }

            foreach ((string part, long bytes) in plan.Parts)
                Line("", string.Create(CultureInfo.InvariantCulture, $"{Words(part),-26} {Gigabytes(bytes),10}"));
            string verdict = plan.Fits is { } fits && info.DeviceBytes is { } memory
                ? $", which {(fits ? "fits" : "does not fit")} {info.Device} ({Gigabytes(memory)})" : "";
            Line("", $"{"at its peak",-26} {Gigabytes(plan.PeakBytes),10}{verdict}");
        }

        return text.ToString();

        void Line(string title, string content) => text.AppendLine(CultureInfo.InvariantCulture, $"{title,-16} {content}");
    }

    private static string OnDisk(ModuleInfo module) => module is { StoredBytes: { } bytes, Forms.Length: > 0 }
        ? $" in memory, {Gigabytes(bytes)} on disk: {string.Join(", ", module.Forms)}" : "";

    private static string Indented(string text) => text.ReplaceLineEndings(Environment.NewLine + new string(' ', 17));

    private static string Billions(long count) => count >= 10_000_000
        ? string.Create(CultureInfo.InvariantCulture, $"{count / 1e9:F3} billion")
        : string.Create(CultureInfo.InvariantCulture, $"{count / 1e6:F3} million");

    private static string Gigabytes(long bytes) => bytes >= 10_000_000
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F2} MB");

    private static string Words(string name) => name switch
    {
        "keyValueCache" => "keys and values",
        "gradientsAndOptimizer" => "gradients and optimizer",
        _ => name,
    };
}
