using System.CommandLine;
using System.Text.Json;
using Skylight.Execution;
using Skylight.Hub;
using Skylight.Tensors;

namespace Skylight.Cli;

/// <summary>
/// <c>skylight info</c>: what a checkpoint folder holds, and what it would need on a device. Loads nothing.
/// </summary>
internal static class InfoCommand
{
    // Far more than a micro-batch has; sizes that are computed from it fit their types.
    private const int MostTokens = 10_000_000;

    public static Command Create()
    {
        var model = new Argument<string>("model")
        {
            Description =
                $"{ModelFolder.Description} config.json is enough: of a repository that was not pulled, all but the weights is.",
        };
        var json = new Option<bool>("--json") { Description = "Print the facts as JSON." };
        var context =
            new Option<int?>("--context")
            {
                Description = "Tokens of a sequence, prompt and completion; by default all the model's positions.",
            };
        var batch = new Option<int>("--batch") { Description = "Sequences at once.", DefaultValueFactory = _ => 1 };
        var tokens = new Option<int>("--tokens")
        {
            Description = "Tokens of a micro-batch in training.",
            DefaultValueFactory = _ => 4096,
        };
        var tiles = new Option<int?>("--tiles")
        {
            Description = "Tiles of the pictures of a prompt or micro-batch; by default as many as one large picture has.",
        };
        var keep = new Option<bool>("--no-recompute")
        {
            Description = "Plan training with all activations kept, rather than with layers recomputed.",
        };
        var memory =
            new Option<double?>("--memory-gb")
            {
                Description = "Gigabytes of memory to compare with; by default those of the device.",
            };
        Option<string?> vision = ModelFolder.CreateVisionOption();
        Option<string> cacheType = KeyValueOption.Create();
        Option<string> device = DeviceOption.Create();
        device.Description += " Also sm_80, sm_90a and so on, for a card that is not here.";
        var command = new Command("info",
            "Describe a checkpoint: architecture, sizes, and the memory that inference and connector training would " +
            "need on a device. Loads nothing.")
        {
            model, json, context, batch, tokens, tiles, keep, memory, device, vision, cacheType,
        };
        command.SetCancellableAction((parse, cancellationToken) => Run(
            parse.GetRequiredValue(model), parse.GetValue(vision), parse.GetValue(json), parse.GetRequiredValue(device),
            parse.GetValue(memory),
            new InfoRequest(parse.GetValue(context), parse.GetValue(batch), parse.GetValue(tokens),
                parse.GetValue(tiles), !parse.GetValue(keep), KeyValueOption.TypeOf(parse.GetRequiredValue(cacheType))),
            cancellationToken));
        return command;
    }

    private static int Run(string model, string? vision, bool json, string deviceName, double? memoryGigabytes,
        InfoRequest request, CancellationToken cancellationToken)
    {
        if (memoryGigabytes is { } given && !(given > 0 && given < 1e9))
            throw new ArgumentException(
                FormattableString.Invariant($"--memory-gb is {given}; give a positive number of gigabytes."));
        Within("--context", request.Context, 1);
        Within("--batch", request.Batch, 1);
        Within("--tokens", request.TrainingTokens, 2, MostTokens);
        Within("--tiles", request.Tiles, 0);
        bool isAbsent = deviceName.StartsWith("sm_", StringComparison.Ordinal);
        // Plans may be larger than the device: that is what is to be found out.
        using Device device = isAbsent ? new AbsentCard(deviceName) : DeviceOption.Open(deviceName, long.MaxValue);
        long? memoryBytes = memoryGigabytes is { } gigabytes ? (long)(gigabytes * 1e9) : null;
        if (memoryBytes is null && !isAbsent)
        {
            using Device real = DeviceOption.Open(deviceName);
            memoryBytes = real.MemoryBytes;
        }

        string directory = ModelFolder.FindAsync(model, ModelParts.Description, cancellationToken).GetAwaiter().GetResult();
        if (vision is not null)
            vision = ModelFolder.FindAsync(vision, ModelParts.Checkpoint, cancellationToken).GetAwaiter().GetResult();
        CheckpointInfo info = CheckpointInfo.Of(directory, device, memoryBytes, request, vision);
        Console.Write(json ? JsonSerializer.Serialize(info, InfoJson.Default.CheckpointInfo) + "\n" : InfoText.Format(info));
        return info.Weights.Problem is null ? 0 : 1;
    }

    private static void Within(string option, int? value, int least, int most = int.MaxValue)
    {
        if (value < least || value > most)
            throw new ArgumentException(FormattableString.Invariant(
                $"{option} is {value}; give {least} {(most == int.MaxValue ? "or more" : $"to {most}")}."));
    }
}

/// <summary>What is to be planned.</summary>
/// <param name="Context">Tokens of a sequence; null for all positions.</param>
/// <param name="Batch">Sequences at once.</param>
/// <param name="TrainingTokens">Tokens of a micro-batch.</param>
/// <param name="Tiles">Tiles; null for those of one large picture.</param>
/// <param name="Recompute">Whether layers are recomputed in training.</param>
/// <param name="KeyValueType">Of the key-value cache; null for what the device has for the model.</param>
internal sealed record InfoRequest(int? Context = null, int Batch = 1, int TrainingTokens = 4096, int? Tiles = null,
    bool Recompute = true, DataType? KeyValueType = null);
