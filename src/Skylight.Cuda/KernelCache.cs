using System.Collections.Concurrent;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;

namespace Skylight.Cuda;

/// <summary>
/// Compiled variants, in memory and on disk. The name of a file is the hash of all that goes into its machine code:
/// source, every header, options and compiler; its ending says machine code (<c>.cubin</c>) or PTX (<c>.ptx</c>). Files
/// are written beside and renamed, so processes may share a folder; one that is damaged is compiled anew.
/// </summary>
internal sealed class KernelCache
{
    private const int HashBytes = 16, MostBytes = 256 << 20;
    private static readonly byte[] Magic = "skylight kernel 2\n"u8.ToArray();
    private static readonly byte[] HeaderHash = HashOfHeaders();

    private readonly CudaCompiler _compiler;
    private readonly string _compilerIdentity;
    private readonly string? _folder;
    private readonly ConcurrentDictionary<KernelVariant, Lazy<Task<CompiledKernels>>> _variants = new();
    private int _compilations;

    /// <summary>Makes a cache.</summary>
    /// <param name="libraries">Whose NVRTC compiles.</param>
    /// <param name="folder">Where files lie; null for <see cref="CacheFolder"/>'s, empty for no files.</param>
    public KernelCache(CudaLibraries libraries, string? folder)
    {
        _compiler = new CudaCompiler(libraries.Nvrtc);
        _compilerIdentity = libraries.Emulator?.Fingerprint ?? $"NVRTC {libraries.NvrtcVersion}";
        _folder = folder is "" ? null : folder ?? CacheFolder.Of("kernels");
    }

    /// <summary>How many variants were not found and had to be compiled.</summary>
    public int Compilations => _compilations;

    /// <summary>Starts to compile a variant on another thread, so that a whole plan compiles on all cores.</summary>
    public void Prepare(KernelVariant variant) => _ = TaskOf(variant);

    /// <summary>A compiled variant.</summary>
    /// <exception cref="KernelCompilationException">The source does not compile.</exception>
    public CompiledKernels Get(KernelVariant variant)
    {
        try
        {
            return TaskOf(variant).GetAwaiter().GetResult();
        }
        catch
        {
            // The next time may go better: a full disk, a compiler that was stopped.
            _variants.TryRemove(variant, out _);
            throw;
        }
    }

    private Task<CompiledKernels> TaskOf(KernelVariant variant) =>
        _variants.GetOrAdd(variant, key => new Lazy<Task<CompiledKernels>>(() => Task.Run(() => Load(key)))).Value;

    private CompiledKernels Load(KernelVariant variant)
    {
        string? path = _folder is null ? null : Path.Combine(_folder, Key(variant));
        if (path is not null && Read(path, variant) is { } found)
            return found;
        CompiledKernels compiled = _compiler.Compile(variant);
        Interlocked.Increment(ref _compilations);
        if (path is not null)
            Write(path, compiled);
        return compiled;
    }

    private string Key(KernelVariant variant)
    {
        var hash = new XxHash128();
        hash.Append(HeaderHash);
        foreach (string part in (string[])[_compilerIdentity, variant.Source.Name, variant.Source.Text, .. variant.Options])
            Append(hash, part);
        return $"{Path.GetFileNameWithoutExtension(variant.Source.Name)}-{Convert.ToHexStringLower(hash.GetCurrentHash())}{(variant.IsPtx ? ".ptx" : ".cubin")}";
    }

    private static byte[] HashOfHeaders()
    {
        var hash = new XxHash128();
        foreach (KernelSource header in KernelSource.Headers)
        {
            Append(hash, header.Name);
            Append(hash, header.Text);
        }

        return hash.GetCurrentHash();
    }

    /// <summary>A text and its end: two texts are not the same as one that joins them.</summary>
    private static void Append(XxHash128 hash, string text)
    {
        hash.Append(Encoding.UTF8.GetBytes(text));
        hash.Append([0]);
    }

    /// <summary>
    /// Magic, XXH128 of the rest, length of the log, log, cubin or PTX. Null when there is no such file or it is
    /// damaged.
    /// </summary>
    private static CompiledKernels? Read(string path, KernelVariant variant)
    {
        byte[] file;
        try
        {
            file = BoundedFile.Read(path, MostBytes);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }

        int start = Magic.Length + HashBytes;
        if (file.Length < start + sizeof(int) || !file.AsSpan().StartsWith(Magic))
            return null;
        ReadOnlySpan<byte> body = file.AsSpan(start);
        if (!XxHash128.Hash(body).AsSpan().SequenceEqual(file.AsSpan(Magic.Length, HashBytes)))
            return null;
        int logBytes = MemoryMarshal.Read<int>(body);
        string log = Encoding.UTF8.GetString(body.Slice(sizeof(int), logBytes));
        return new CompiledKernels(variant, file.AsMemory(start + sizeof(int) + logBytes), log);
    }

    private static void Write(string path, CompiledKernels kernels)
    {
        byte[] log = Encoding.UTF8.GetBytes(kernels.Log);
        byte[] body = [.. BitConverter.GetBytes(log.Length), .. log, .. kernels.Image.Span];
        string beside = $"{path}.{Guid.NewGuid():N}";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(beside, [.. Magic, .. XxHash128.Hash(body), .. body]);
            File.Move(beside, path, overwrite: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // A folder that cannot be written costs time at the next start, nothing else.
            if (File.Exists(beside))
                File.Delete(beside);
        }
    }
}
