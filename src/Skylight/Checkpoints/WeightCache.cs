using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>A file of a <see cref="WeightCache"/>.</summary>
/// <param name="Path">Where it lies.</param>
/// <param name="Label">The checkpoint that it was made of, and how.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="LastUsed">When a model was last read from it.</param>
public sealed record WeightCacheEntry(string Path, string Label, long Bytes, DateTimeOffset LastUsed);

/// <summary>
/// Weights as the processor multiplies them, kept in files, so that only the first start with <c>--dtype q4</c> or
/// <c>q8</c> rounds and packs them: later ones map the file, copy nothing, and share its memory. Any number of processes may
/// use one folder. Every byte is compared with a checksum before it is used.
/// </summary>
public sealed class WeightCache
{
    internal const string Ending = ".weights", Unfinished = ".tmp";

    private static readonly TimeSpan s_abandoned = TimeSpan.FromDays(1);

    private readonly WeightCacheOptions _options;

    /// <summary>Looks at a folder; nothing is read or made.</summary>
    /// <param name="options">Where it is, and what is kept.</param>
    public WeightCache(WeightCacheOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrEmpty(options.Folder, nameof(options));
        _options = options;
    }

    /// <summary>The files, those that were used last first; none where there is no folder.</summary>
    /// <exception cref="IOException">The folder cannot be read.</exception>
    public IReadOnlyList<WeightCacheEntry> Entries() => [.. Files().Select(file =>
        new WeightCacheEntry(file.FullName, LabelOf(file.FullName), file.Length, new DateTimeOffset(file.LastWriteTimeUtc)))];

    /// <summary>Removes the files. A process that uses one keeps what it has mapped.</summary>
    /// <returns>The bytes that were freed.</returns>
    /// <exception cref="IOException">One cannot be removed.</exception>
    public long Clear()
    {
        long freed = 0;
        foreach (FileInfo file in Files())
        {
            freed += file.Length;
            file.Delete();
        }

        RemoveAbandoned(TimeSpan.Zero);
        return freed;
    }

    /// <summary>Whether a model is among those that are kept.</summary>
    internal bool Keeps(VisionLanguageModel model, QuantizedFormat? rounding) => model.Device.StoredOrder is not null
        && _options.Keeps >= (rounding is null ? KeptWeights.All : KeptWeights.Rounded)
        && model.Parameters.All.Sum(parameter => model.Device.StorageBytes(parameter.Type)) >= _options.SmallestBytes;

    /// <summary>How a model's weights lie in a file; null where its source cannot be told.</summary>
    /// <param name="reader">The checkpoint.</param>
    /// <param name="model">The model, without memory.</param>
    /// <param name="parameters">All its parameters, in the order in which they are read.</param>
    /// <param name="rounding">What matrices are rounded to.</param>
    internal WeightLayout? LayoutOf(CheckpointReader reader, VisionLanguageModel model,
        IReadOnlyList<PersistentTensor> parameters, QuantizedFormat? rounding)
    {
        try
        {
            string[] identity = ["format 1", $"rounding {WeightQuantizer.Version} {rounding?.ToString() ?? "none"}",
                $"order {model.Device.StoredOrder}", .. WeightSource.Lines(reader)];
            return new WeightLayout(model.Device, identity,
                $"{Path.GetFullPath(reader.Directory)}{(rounding is null ? "" : $", rounded to {rounding.CodeBits} bits")}",
                parameters);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            _options.Notice($"{reader.Directory}: weights are not kept for the next start: {exception.Message}");
            return null;
        }
    }

    /// <summary>Gives a model its weights from their file; false where there is none that is whole.</summary>
    internal bool TryLoad(WeightLayout layout, Device device, IProgress<float>? progress, CancellationToken cancellationToken)
    {
        string path = Path.Combine(_options.Folder, layout.Name);
        if (!File.Exists(path))
            return false;
        var tensors = new List<Tensor>();
        try
        {
            using FileStream stream = BoundedFile.Open(path, FileShare.Read | FileShare.Delete);
            if (stream.Length != layout.Length)
            {
                ThrowAway(path, $"it has {stream.Length} bytes, not {layout.Length}");
                return false;
            }

            using TensorFile file = device.MapTensors(stream.SafeFileHandle);
            string? fault = layout.Fault(file, out ulong[] checksums)
                ?? FaultOfWeights(layout, file, checksums, progress, cancellationToken);
            if (fault is not null)
            {
                ThrowAway(path, fault);
                return false;
            }

            for (int index = 0; index < layout.Parameters.Count; index++)
                tensors.Add(file.Take(layout.DataStart + layout.Offsets[index], layout.Parameters[index].Type));
        }
        catch (Exception exception)
        {
            tensors.ForEach(tensor => tensor.Memory.Dispose());
            if (exception is not (IOException or UnauthorizedAccessException))
                throw;
            // Another process has just removed it, or there is no mapping files there.
            _options.Notice($"{path}: cannot be used: {exception.Message} The checkpoint is read instead.");
            return false;
        }

        foreach ((PersistentTensor parameter, Tensor tensor) in layout.Parameters.Zip(tensors))
            parameter.Bind(tensor);
        Try(() => File.SetLastWriteTimeUtc(path, DateTime.UtcNow));
        return true;
    }

    /// <summary>Begins the file of a model; null where there is no room for it.</summary>
    internal WeightWriter? Begin(WeightLayout layout, Device device)
    {
        string? reason = null;
        try
        {
            if (layout.Length > _options.LimitBytes)
                reason = $"they take {Size(layout.Length)}, and the limit is {Size(_options.LimitBytes)} (SKYLIGHT_WEIGHTS_GB)";
            else if (CheckpointFolder.FreeBytes(_options.Folder, folder => new DriveInfo(folder).AvailableFreeSpace)
                is { } free && free < 2 * layout.Length)
                reason = $"they take {Size(layout.Length)}, and the disk has {Size(free)} free, of which half is left alone";
            else
                return new WeightWriter(device, layout, Path.Combine(_options.Folder, layout.Name));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            reason = exception.Message;
        }

        NotKept(reason);
        return null;
    }

    /// <summary>Ends the file of a model, and removes those that were used longest ago beyond the limit.</summary>
    internal void Finish(WeightLayout layout, WeightWriter writer)
    {
        try
        {
            writer.Finish();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            NotKept(exception.Message);
            return;
        }

        _options.Notice($"{Size(layout.Length)} of packed weights are kept in {_options.Folder} for the next start " +
            "(SKYLIGHT_WEIGHTS=off for never).");
        Try(() =>
        {
            long bytes = 0;
            foreach (FileInfo file in Files())
            {
                bytes += file.Length;
                if (bytes > _options.LimitBytes && file.Name != layout.Name)
                    file.Delete();
            }

            RemoveAbandoned(s_abandoned);
        });
    }

    /// <summary>Compares all bytes with their checksums, which also brings them into memory, on all cores.</summary>
    private static string? FaultOfWeights(WeightLayout layout, TensorFile file, ulong[] checksums, IProgress<float>? progress,
        CancellationToken cancellationToken)
    {
        int damaged = -1, done = 0;
        var gate = new Lock();
        ParallelParts.Run(checksums.Length, piece =>
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (WeightLayout.Checksum(file.Bytes(layout.DataStart + (long)piece * WeightLayout.PieceBytes,
                layout.BytesOf(piece))) != checksums[piece])
                Volatile.Write(ref damaged, piece);
            lock (gate)
                progress?.Report((float)++done / checksums.Length);
        });
        return damaged < 0 ? null
            : $"bytes from {layout.DataStart + (long)damaged * WeightLayout.PieceBytes} on do not have their checksum";
    }

    private void ThrowAway(string path, string fault)
    {
        _options.Notice($"{path}: {fault}. It is thrown away and made again.");
        Try(() => File.Delete(path));
    }

    private void NotKept(string reason) => _options.Notice($"Packed weights are not kept for the next start: {reason}.");

    private FileInfo[] Files() => Directory.Exists(_options.Folder)
        ? [.. new DirectoryInfo(_options.Folder).EnumerateFiles($"*{Ending}").Where(file => !file.Name.StartsWith('.'))
            .OrderByDescending(file => file.LastWriteTimeUtc)]
        : [];

    /// <summary>Removes what writers have left that were killed.</summary>
    private void RemoveAbandoned(TimeSpan age)
    {
        if (!Directory.Exists(_options.Folder))
            return;
        foreach (FileInfo file in new DirectoryInfo(_options.Folder).EnumerateFiles($".*{Unfinished}"))
        {
            if (DateTime.UtcNow - file.LastWriteTimeUtc >= age)
                file.Delete();
        }
    }

    private static string LabelOf(string path)
    {
        try
        {
            byte[] start = new byte[4096];
            using FileStream stream = BoundedFile.Open(path);
            int count = stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
            return WeightLayout.LabelOf(start.AsSpan(0, count)) ?? "no packed weights";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return exception.Message;
        }
    }

    // What keeps the folder in order; a folder that may only be read serves as well.
    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
        }
    }

    private static string Size(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB");
}
