namespace Skylight.Fuzz;

/// <summary>A reader of what comes from outside, and what it promises.</summary>
/// <param name="name">What it reads.</param>
internal abstract class FuzzTarget(string name) : IDisposable
{
    public string Name => name;

    /// <summary>Correct inputs, to be spoilt.</summary>
    public abstract IReadOnlyList<byte[]> Seeds { get; }

    /// <summary>Words of the format that are put into inputs.</summary>
    public virtual IReadOnlyList<byte[]> Words => [];

    /// <summary>The most bytes that reading an input may allocate in all; managed memory.</summary>
    public abstract long AllocationLimit(int inputBytes);

    /// <summary>Reads an input to its end.</summary>
    public abstract void Run(byte[] input);

    /// <summary>Whether an exception is one that the reader's documentation names.</summary>
    public abstract bool IsDocumented(Exception exception);

    /// <summary>Makes checksums and lengths right again, so that damage is met behind them.</summary>
    public virtual void Repair(byte[] input, Random random)
    {
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
    }
}

/// <summary>A reader of files: the input lies in memory where the system has such a folder.</summary>
internal abstract class FileTarget : FuzzTarget
{
    private readonly string _fileName;

    protected FileTarget(string name, string fileName)
        : base(name)
    {
        _fileName = fileName;
        string parent = Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();
        Folder = Path.Combine(parent, $"skylight-fuzz-{Environment.ProcessId}-{Guid.NewGuid():N}");
        Directory.CreateDirectory(Folder);
    }

    protected string Folder { get; }

    protected string FilePath => Path.Combine(Folder, _fileName);

    public sealed override void Run(byte[] input)
    {
        File.WriteAllBytes(FilePath, input);
        Read();
    }

    /// <inheritdoc/>
    public override void Dispose() => Directory.Delete(Folder, recursive: true);

    protected abstract void Read();
}
