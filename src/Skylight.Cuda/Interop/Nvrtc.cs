using System.Runtime.InteropServices;
using System.Text;

namespace Skylight.Cuda.Interop;

/// <summary>
/// NVRTC by function pointers. Source-generated imports bind a name once per assembly; here the real library and the
/// emulator's may be in use in one process, each with its own table.
/// </summary>
internal sealed unsafe class Nvrtc
{
    private readonly delegate* unmanaged<int*, int*, int> _version;
    private readonly delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int> _createProgram;
    private readonly delegate* unmanaged<nint*, int> _destroyProgram;
    private readonly delegate* unmanaged<nint, int, byte**, int> _compileProgram;
    private readonly delegate* unmanaged<nint, nuint*, int> _logSize;
    private readonly delegate* unmanaged<nint, byte*, int> _log;
    private readonly delegate* unmanaged<nint, nuint*, int> _cubinSize;
    private readonly delegate* unmanaged<nint, byte*, int> _cubin;
    private readonly delegate* unmanaged<nint, nuint*, int> _ptxSize;
    private readonly delegate* unmanaged<nint, byte*, int> _ptx;
    private readonly delegate* unmanaged<int, byte*> _errorString;

    /// <summary>Looks up the functions of a library.</summary>
    public Nvrtc(LibraryFunctions library)
    {
        Library = library;
        _version = (delegate* unmanaged<int*, int*, int>)library.Function("nvrtcVersion");
        _createProgram = (delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int>)library.Function(
            "nvrtcCreateProgram");
        _destroyProgram = (delegate* unmanaged<nint*, int>)library.Function("nvrtcDestroyProgram");
        _compileProgram = (delegate* unmanaged<nint, int, byte**, int>)library.Function("nvrtcCompileProgram");
        _logSize = (delegate* unmanaged<nint, nuint*, int>)library.Function("nvrtcGetProgramLogSize");
        _log = (delegate* unmanaged<nint, byte*, int>)library.Function("nvrtcGetProgramLog");
        _cubinSize = (delegate* unmanaged<nint, nuint*, int>)library.Function("nvrtcGetCUBINSize");
        _cubin = (delegate* unmanaged<nint, byte*, int>)library.Function("nvrtcGetCUBIN");
        _ptxSize = (delegate* unmanaged<nint, nuint*, int>)library.Function("nvrtcGetPTXSize");
        _ptx = (delegate* unmanaged<nint, byte*, int>)library.Function("nvrtcGetPTX");
        _errorString = (delegate* unmanaged<int, byte*>)library.Function("nvrtcGetErrorString");
        int major, minor;
        Check(_version(&major, &minor), "nvrtcVersion");
        Version = new Version(major, minor);
        SupportedArchitectures = ReadArchitectures();
        LoadBuiltins();
    }

    /// <summary>The library.</summary>
    public LibraryFunctions Library { get; }

    /// <summary>Its version.</summary>
    public Version Version { get; }

    /// <summary>The architectures that it makes machine code for, ascending: compute capabilities times ten.</summary>
    public IReadOnlyList<int> SupportedArchitectures { get; }

    /// <summary>Compiles a program.</summary>
    /// <param name="source">The program.</param>
    /// <param name="headers">What it may include.</param>
    /// <param name="options">What the compiler is given.</param>
    /// <param name="toPtx">Whether the result is PTX, ended by a zero, for an architecture <c>compute_…</c>; otherwise
    /// a cubin, for <c>sm_…</c>.</param>
    /// <returns>PTX or cubin, null when the source does not compile; and the compiler's log.</returns>
    public (byte[]? Image, string Log) Compile(KernelSource source, IReadOnlyList<KernelSource> headers,
        IReadOnlyList<string> options, bool toPtx)
    {
        using var text = new Utf8Strings([source.Text, source.Name]);
        using var headerTexts = new Utf8Strings([.. headers.Select(header => header.Text)]);
        using var headerNames = new Utf8Strings([.. headers.Select(header => header.Name)]);
        using var optionTexts = new Utf8Strings(options);
        nint program;
        Check(_createProgram(&program, text.Pointers[0], text.Pointers[1], headers.Count, headerTexts.Pointers,
            headerNames.Pointers), "nvrtcCreateProgram");
        try
        {
            int result = _compileProgram(program, options.Count, optionTexts.Pointers);
            nuint size;
            Check(_logSize(program, &size), "nvrtcGetProgramLogSize");
            var log = new byte[size];
            fixed (byte* bytes = log)
                Check(_log(program, bytes), "nvrtcGetProgramLog");
            string logText = Encoding.UTF8.GetString(log).TrimEnd('\0', '\n');
            if (result == CudaNumbers.CompilationFailed)
                return (null, logText);
            Check(result, "nvrtcCompileProgram", $" ({source.Name}, {string.Join(' ', options)}) {logText}");
            Check(toPtx ? _ptxSize(program, &size) : _cubinSize(program, &size), toPtx ? "nvrtcGetPTXSize"
                : "nvrtcGetCUBINSize");
            var image = new byte[size];
            fixed (byte* bytes = image)
                Check(toPtx ? _ptx(program, bytes) : _cubin(program, bytes), toPtx ? "nvrtcGetPTX" : "nvrtcGetCUBIN");
            return (image, logText);
        }
        finally
        {
            _ = _destroyProgram(&program);
        }
    }

    private int[] ReadArchitectures()
    {
        var count = (delegate* unmanaged<int*, int>)Library.Function("nvrtcGetNumSupportedArchs");
        var read = (delegate* unmanaged<int*, int>)Library.Function("nvrtcGetSupportedArchs");
        int length;
        Check(count(&length), "nvrtcGetNumSupportedArchs");
        var architectures = new int[length];
        fixed (int* first = architectures)
            Check(read(first), "nvrtcGetSupportedArchs");
        Array.Sort(architectures);
        return architectures;
    }

    /// <summary>
    /// NVRTC opens its builtins by bare name when it first compiles, which fails where its folder is not on the
    /// loader's path. The loader gives it a library of that name that is already loaded.
    /// </summary>
    private void LoadBuiltins()
    {
        if (Path.GetDirectoryName(Library.File) is not { Length: > 0 } folder)
            return;
        string path = Path.GetFullPath(Path.Combine(folder, OperatingSystem.IsWindows()
            ? $"nvrtc-builtins64_{Version.Major}{Version.Minor}.dll"
            : $"libnvrtc-builtins.so.{Version.Major}.{Version.Minor}"));
        if (File.Exists(path))
            _ = NativeLibraryContext.Load("NVRTC's library of builtins", [path],
                "Install NVRTC anew: its two libraries are of one version.");
    }

    private void Check(int result, string call, string details = "")
    {
        if (result != 0)
            throw new CudaException(
                $"{call} of {Library.Path} failed with code {result}, " +
                $"{Marshal.PtrToStringUTF8((nint)_errorString(result))}.{details}");
    }

    /// <summary>Strings as zero-terminated UTF-8, for the time of a call.</summary>
    private sealed class Utf8Strings : IDisposable
    {
        private readonly nint[] _strings;

        public Utf8Strings(IReadOnlyList<string> strings)
        {
            _strings = [.. strings.Select(Marshal.StringToCoTaskMemUTF8)];
            Pointers = (byte**)NativeMemory.Alloc((nuint)Math.Max(_strings.Length, 1), (nuint)sizeof(byte*));
            for (int index = 0; index < _strings.Length; index++)
                Pointers[index] = (byte*)_strings[index];
        }

        public byte** Pointers { get; }

        public void Dispose()
        {
            foreach (nint text in _strings)
                Marshal.FreeCoTaskMem(text);
            NativeMemory.Free(Pointers);
        }
    }
}
