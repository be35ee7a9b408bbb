namespace Skylight.Cli.Demo.Digits;

/// <summary>Which digits a problem is made of.</summary>
internal enum DigitSplit
{
    /// <summary>The training file.</summary>
    Training,

    /// <summary>The test file: never seen in training.</summary>
    HeldOut,
}

/// <summary>The digits to train on and the digits held out, from two separate files of the data set.</summary>
internal sealed record DigitDataset(DigitSet Training, DigitSet HeldOut)
{
    /// <summary>The digits of a split.</summary>
    public DigitSet this[DigitSplit split] => split == DigitSplit.Training ? Training : HeldOut;

    /// <summary>
    /// Loads MNIST's four files from a folder: images and labels, named <c>train-…</c> and <c>test-…</c> or <c>t10k-…</c>,
    /// each plain or <c>.gz</c>.
    /// </summary>
    /// <exception cref="InvalidDataException">A file is missing or broken; the message names it.</exception>
    public static DigitDataset Load(string directory)
    {
        if (!Directory.Exists(directory))
            throw new DirectoryNotFoundException($"The digit folder '{directory}' does not exist; give one with --digits.");
        return new DigitDataset(LoadSet(directory, "train"), LoadSet(directory, "test", "t10k"));
    }

    /// <summary>Loads the digits of a folder, or those that come with the program where none is named.</summary>
    /// <inheritdoc cref="Load"/>
    public static DigitDataset Open(string? directory) => Load(directory ?? FindBundled()
        ?? throw new IOException(
            "The bundled digits (assets/digits) are not beside the program. Name a folder of IDX files with --digits."));

    /// <summary>The folder of digits that comes with the program, or null if it is not there.</summary>
    public static string? FindBundled()
    {
        // Beside the executable when installed; further up when run from a build folder inside the repository.
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "assets", "digits");
            if (Directory.Exists(candidate))
                return candidate;
        }

        return null;
    }

    private static DigitSet LoadSet(string directory, params ReadOnlySpan<string> prefixes)
    {
        string imagesPath = FindFile(directory, prefixes, "images", "idx3");
        string labelsPath = FindFile(directory, prefixes, "labels", "idx1");

        byte[] images = IdxFile.ReadImages(imagesPath, out int count);
        byte[] labels = IdxFile.ReadLabels(labelsPath);
        if (count != labels.Length)
            throw IdxFile.Broken(labelsPath,
                $"it has {labels.Length} labels, but there are {count} images in '{Path.GetFileName(imagesPath)}'");
        return new DigitSet(images, labels);
    }

    private static string FindFile(string directory, ReadOnlySpan<string> prefixes, string kind, string rank)
    {
        foreach (string prefix in prefixes)
        {
            // Both spellings of the separator are in circulation.
            foreach (string separator in (string[])["-", "."])
            {
                string path = Path.Combine(directory, $"{prefix}-{kind}{separator}{rank}-ubyte");
                if (File.Exists(path))
                    return path;
                if (File.Exists(path + ".gz"))
                    return path + ".gz";
            }
        }

        throw IdxFile.Broken(
            Path.Combine(directory, $"{prefixes[0]}-{kind}-{rank}-ubyte[.gz]"),
            "it is missing; the folder must hold images and labels for training (train-…) and for testing (test-… " +
            "or t10k-…)");
    }
}
