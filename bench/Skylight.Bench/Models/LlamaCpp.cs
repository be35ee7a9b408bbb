using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Skylight.Bench.Models;

/// <summary>
/// A llama.cpp library that lies in a folder, loaded into this process and driven through its C interface, so that it
/// is measured in turn with Skylight. Parameter structures differ from version to version; they are passed on as they
/// come, but for the fields at their start.
/// </summary>
internal sealed unsafe class LlamaCpp : IDisposable
{
    private const int MostTokens = 2048;

    private readonly nint _library;
    private readonly nint _model;
    private readonly nint _context;
    private readonly Batch _batch;
    private readonly delegate* unmanaged[Cdecl]<nint, Batch, int> _decode;

    /// <summary>Loads the library's best CPU code and a model.</summary>
    /// <param name="folder">Holds libllama*.so and libggml*.so, as in npm's @node-llama-cpp/linux-x64.</param>
    /// <param name="modelPath">A GGUF file.</param>
    /// <param name="context">Tokens that the cache holds for all sequences together.</param>
    /// <param name="sequences">The most sequences side by side.</param>
    /// <param name="threads">Threads.</param>
    public LlamaCpp(string folder, string modelPath, int context, int sequences, int threads)
    {
        nint ggml = NativeLibrary.Load(Library(folder, "libggml.*so"));
        _library = NativeLibrary.Load(Library(folder, "libllama.*so"));
        ((delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<int, byte*, nint, void>, nint,
            void>)Function("llama_log_set"))(&Ignore, 0);
        using var folderText = new Utf8(folder);
        using var modelText = new Utf8(modelPath);
        ((delegate* unmanaged[Cdecl]<byte*, void>)NativeLibrary.GetExport(ggml, "ggml_backend_load_all_from_path"))(
            folderText.Pointer);
        ((delegate* unmanaged[Cdecl]<void>)Function("llama_backend_init"))();
        Parameters model = ((delegate* unmanaged[Cdecl]<Parameters>)Function("llama_model_default_params"))();
        _model = ((delegate* unmanaged[Cdecl]<byte*, Parameters, nint>)Function("llama_model_load_from_file"))(
            modelText.Pointer, model);
        if (_model == 0)
            throw new InvalidOperationException($"llama.cpp cannot load {modelPath}.");
        Parameters parameters = ((delegate* unmanaged[Cdecl]<Parameters>)Function("llama_context_default_params"))();
        // n_ctx, n_batch, n_ubatch, n_seq_max: known by their defaults, or this version has another layout.
        Span<uint> fields = new(&parameters, 4);
        if (fields is not [512, 2048, 512, 1])
            throw new NotSupportedException(
                $"This llama.cpp has other context parameters than expected: {string.Join(", ", fields.ToArray())}.");
        fields[0] = (uint)context;
        fields[3] = (uint)sequences;
        _context = ((delegate* unmanaged[Cdecl]<nint, Parameters, nint>)Function("llama_init_from_model"))(_model,
            parameters);
        if (_context == 0)
            throw new InvalidOperationException("llama.cpp makes no context for the model.");
        ((delegate* unmanaged[Cdecl]<nint, int, int, void>)Function("llama_set_n_threads"))(_context, threads, threads);
        _batch = ((delegate* unmanaged[Cdecl]<int, int, int, Batch>)Function("llama_batch_init"))(MostTokens, 0, 1);
        _decode = (delegate* unmanaged[Cdecl]<nint, Batch, int>)Function("llama_decode");
    }

    /// <summary>What the library says of the code that it runs.</summary>
    public string Description =>
        Marshal.PtrToStringUTF8(((delegate* unmanaged[Cdecl]<nint>)Function("llama_print_system_info"))()) ?? "";

    /// <summary>Forgets all sequences.</summary>
    public void Clear() => ((delegate* unmanaged[Cdecl]<nint, byte, void>)Function("llama_memory_clear"))(
        ((delegate* unmanaged[Cdecl]<nint, nint>)Function("llama_get_memory"))(_context), 1);

    /// <summary>Runs new tokens of sequences; logits are computed after the last one of each.</summary>
    /// <param name="tokens">As many for each sequence.</param>
    /// <param name="sequences">Sequences 0, 1, …</param>
    /// <param name="position">The position of the first new token, in all sequences.</param>
    public void Decode(ReadOnlySpan<int> tokens, int sequences, int position)
    {
        Batch batch = _batch;
        batch.Count = tokens.Length;
        int each = tokens.Length / sequences;
        for (int index = 0; index < tokens.Length; index++)
        {
            batch.Tokens[index] = tokens[index];
            batch.Positions[index] = position + index % each;
            batch.SequenceCounts[index] = 1;
            batch.Sequences[index][0] = index / each;
            batch.Logits[index] = index % each == each - 1 ? (byte)1 : (byte)0;
        }

        if (_decode(_context, batch) is not 0 and int status)
            throw new InvalidOperationException($"llama_decode answers {status}.");
    }

    /// <summary>
    /// The token with the greatest logit after the row of the last batch with that index, and the logits' values.
    /// </summary>
    public ReadOnlySpan<float> Logits(int row, int vocabulary) =>
        new(((delegate* unmanaged[Cdecl]<nint, int, float*>)Function("llama_get_logits_ith"))(_context, row), vocabulary);

    /// <inheritdoc/>
    public void Dispose()
    {
        ((delegate* unmanaged[Cdecl]<Batch, void>)Function("llama_batch_free"))(_batch);
        ((delegate* unmanaged[Cdecl]<nint, void>)Function("llama_free"))(_context);
        ((delegate* unmanaged[Cdecl]<nint, void>)Function("llama_model_free"))(_model);
    }

    private static string Library(string folder, string pattern) => Directory.Exists(folder)
        && Directory.GetFiles(folder, pattern) is [{ } path, ..]
        ? path
        : throw new FileNotFoundException(
            $"{folder} holds no {pattern}. It is the folder of a llama.cpp built as shared libraries, such as bins/linux-x64 of npm's @node-llama-cpp/linux-x64.");

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Ignore(int level, byte* text, nint data)
    {
    }

    private nint Function(string name) => NativeLibrary.GetExport(_library, name);

    /// <summary>Room for any version's parameters: the callee reads only what it knows.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 1024)]
    private struct Parameters
    {
        private long _first;
    }

    /// <summary>llama_batch.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Batch
    {
        public int Count;
        public int* Tokens;
        public float* Embeddings;
        public int* Positions;
        public int* SequenceCounts;
        public int** Sequences;
        public byte* Logits;
    }

    private sealed class Utf8(string text) : IDisposable
    {
        public byte* Pointer { get; } = (byte*)Marshal.StringToCoTaskMemUTF8(text);

        public void Dispose() => Marshal.FreeCoTaskMem((nint)Pointer);
    }
}
