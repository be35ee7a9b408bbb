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
    // n_batch, of which the library takes no more in one call.
    private const int MostTokens = 2048;
    private const int LogError = 4;

    private static string s_lastError = "";

    private readonly nint _library;
    private readonly Batch _batch;
    private readonly delegate* unmanaged[Cdecl]<nint, Batch, int> _decode;

    /// <summary>Loads the library's best CPU code and a model.</summary>
    /// <param name="folder">Holds libllama*.so and libggml*.so, as in npm's @node-llama-cpp/linux-x64, LLamaSharp's
    /// native folders or Debian's library folder.</param>
    /// <param name="modelPath">A GGUF file.</param>
    /// <param name="context">Tokens that the cache holds for all sequences together.</param>
    /// <param name="sequences">The most sequences side by side.</param>
    /// <param name="threads">Threads.</param>
    /// <param name="isExact">Whether attention is computed in float32; else as the library does, in float16.</param>
    public LlamaCpp(string folder, string modelPath, int context, int sequences, int threads, bool isExact = false)
    {
        Folder = folder;
        _library = Load(folder);
        using var modelText = new Utf8(modelPath);
        Parameters model = ((delegate* unmanaged[Cdecl]<Parameters>)Function("llama_model_default_params"))();
        Model = ((delegate* unmanaged[Cdecl]<byte*, Parameters, nint>)Function("llama_model_load_from_file"))(
            modelText.Pointer, model);
        if (Model == 0)
            throw new InvalidOperationException($"llama.cpp cannot load {modelPath}: {s_lastError}");
        Parameters parameters = ((delegate* unmanaged[Cdecl]<Parameters>)Function("llama_context_default_params"))();
        // n_ctx, n_batch, n_ubatch, n_seq_max: known by their defaults, or this version has another layout.
        Span<uint> fields = new(&parameters, 4);
        if (fields is not [512, 2048, 512, 1])
            throw new NotSupportedException(
                $"This llama.cpp has other context parameters than expected: {string.Join(", ", fields.ToArray())}.");
        if (isExact)
            MakeExact(new Span<int>(&parameters, 28));
        fields[0] = (uint)context;
        fields[3] = (uint)sequences;
        Context = ((delegate* unmanaged[Cdecl]<nint, Parameters, nint>)Function("llama_init_from_model"))(Model,
            parameters);
        if (Context == 0)
            throw new InvalidOperationException($"llama.cpp makes no context for the model: {s_lastError}");
        ((delegate* unmanaged[Cdecl]<nint, int, int, void>)Function("llama_set_n_threads"))(Context, threads, threads);
        _batch = ((delegate* unmanaged[Cdecl]<int, int, int, Batch>)Function("llama_batch_init"))(MostTokens, 0, 1);
        _decode = (delegate* unmanaged[Cdecl]<nint, Batch, int>)Function("llama_decode");
    }

    /// <summary>The library's folder.</summary>
    public string Folder { get; }

    /// <summary>llama_model.</summary>
    public nint Model { get; }

    /// <summary>llama_context.</summary>
    public nint Context { get; }

    /// <summary>Elements of a token's embedding.</summary>
    public int HiddenSize => ((delegate* unmanaged[Cdecl]<nint, int>)Function("llama_model_n_embd"))(Model);

    /// <summary>The last error that the library has told.</summary>
    public static string LastError => s_lastError;

    /// <summary>What keeps the library's last error: ggml_log_callback.</summary>
    public static delegate* unmanaged[Cdecl]<int, byte*, nint, void> Listener => &Hear;

    /// <summary>Writes a GGUF file in another type, as llama-quantize does.</summary>
    /// <param name="folder">Of the library.</param>
    /// <param name="source">A GGUF file of BF16, F16 or F32.</param>
    /// <param name="target">The file to write.</param>
    /// <param name="fileType">llama_ftype; 15 is Q4_K_M.</param>
    public static void Quantize(string folder, string source, string target, int fileType)
    {
        nint library = Load(folder);
        Parameters parameters = ((delegate* unmanaged[Cdecl]<Parameters>)NativeLibrary.GetExport(library,
            "llama_model_quantize_default_params"))();
        // nthread and ftype, which was Q5_1 (9) and is Q8_0 (7) where nothing else is said.
        Span<int> fields = new(&parameters, 2);
        if (fields is not [0, 7 or 9])
            throw new NotSupportedException(
                $"This llama.cpp has other quantising parameters than expected: {string.Join(", ", fields.ToArray())}.");
        fields[0] = Environment.ProcessorCount;
        fields[1] = fileType;
        using Utf8 from = new(source), to = new(target);
        uint status = ((delegate* unmanaged[Cdecl]<byte*, byte*, Parameters*, uint>)NativeLibrary.GetExport(library,
            "llama_model_quantize"))(from.Pointer, to.Pointer, &parameters);
        if (status != 0)
            throw new InvalidOperationException($"llama_model_quantize answers {status}: {s_lastError}");
    }

    /// <summary>What the library says of the code that it runs.</summary>
    public string Description =>
        Marshal.PtrToStringUTF8(((delegate* unmanaged[Cdecl]<nint>)Function("llama_print_system_info"))()) ?? "";

    /// <summary>
    /// The libraries with the code for this processor that were loaded, of the variants that the folder holds; null where
    /// the system does not tell.
    /// </summary>
    public static string? Variant
    {
        get
        {
            const string Source = "/proc/self/maps";
            if (!File.Exists(Source))
                return null;
            // LLamaSharp's are told apart by their folder, the others by their name.
            return string.Join(", ", File.ReadLines(Source).Where(line => line.Contains('/', StringComparison.Ordinal))
                .Select(line => line[line.IndexOf('/', StringComparison.Ordinal)..])
                .Where(path => Path.GetFileName(path).StartsWith("libggml-cpu", StringComparison.Ordinal))
                .Select(path => $"{Path.GetFileName(Path.GetDirectoryName(path))}/{Path.GetFileName(path)}").Distinct());
        }
    }

    /// <summary>The tokens of a text as the model's vocabulary cuts it; names of special tokens stand for them.</summary>
    public int[] Tokenize(string text)
    {
        using var bytes = new Utf8(text);
        int[] tokens = new int[bytes.Length + 8];
        nint vocabulary = ((delegate* unmanaged[Cdecl]<nint, nint>)Function("llama_model_get_vocab"))(Model);
        fixed (int* target = tokens)
        {
            int count = ((delegate* unmanaged[Cdecl]<nint, byte*, int, int*, int, byte, byte, int>)Function("llama_tokenize"))(
                vocabulary, bytes.Pointer, bytes.Length, target, tokens.Length, 0, 1);
            return count >= 0 ? tokens[..count]
                : throw new InvalidOperationException($"llama_tokenize answers {count} for '{text}'.");
        }
    }

    /// <summary>Forgets all sequences.</summary>
    public void Clear() => ((delegate* unmanaged[Cdecl]<nint, byte, void>)Function("llama_memory_clear"))(Memory, 1);

    /// <summary>Gives a sequence all that sequence 0 has.</summary>
    public void CopyTo(int sequence) => ((delegate* unmanaged[Cdecl]<nint, int, int, int, int, void>)
        Function("llama_memory_seq_cp"))(Memory, 0, sequence, -1, -1);

    /// <summary>Forgets a sequence's tokens from a position on.</summary>
    public void Forget(int sequence, int position)
    {
        if (((delegate* unmanaged[Cdecl]<nint, int, int, int, byte>)Function("llama_memory_seq_rm"))(Memory, sequence,
            position, -1) == 0)
            throw new InvalidOperationException($"llama.cpp cannot forget the end of sequence {sequence}.");
    }

    /// <summary>Runs new tokens of sequences; logits are computed after the last one of each.</summary>
    /// <param name="tokens">As many for each sequence; more than the library takes at once go in several
    /// calls, of which only the last one's logits stay.</param>
    /// <param name="sequences">Sequences 0, 1, …</param>
    /// <param name="position">The position of the first new token, in all sequences.</param>
    public void Decode(ReadOnlySpan<int> tokens, int sequences, int position)
    {
        int each = tokens.Length / sequences;
        for (int start = 0; start < tokens.Length; start += MostTokens)
        {
            Batch batch = _batch;
            batch.Count = Math.Min(MostTokens, tokens.Length - start);
            for (int place = 0; place < batch.Count; place++)
            {
                int index = start + place;
                batch.Tokens[place] = tokens[index];
                batch.Positions[place] = position + index % each;
                batch.SequenceCounts[place] = 1;
                batch.Sequences[place][0] = index / each;
                batch.Logits[place] = index % each == each - 1 ? (byte)1 : (byte)0;
            }

            if (_decode(Context, batch) is not 0 and int status)
                throw new InvalidOperationException($"llama_decode answers {status}: {s_lastError}");
        }
    }

    /// <summary>
    /// The token with the greatest logit after the row of the last batch with that index, and the logits' values.
    /// </summary>
    public ReadOnlySpan<float> Logits(int row, int vocabulary) =>
        new(((delegate* unmanaged[Cdecl]<nint, int, float*>)Function("llama_get_logits_ith"))(Context, row), vocabulary);

    /// <inheritdoc/>
    public void Dispose()
    {
        ((delegate* unmanaged[Cdecl]<Batch, void>)Function("llama_batch_free"))(_batch);
        ((delegate* unmanaged[Cdecl]<nint, void>)Function("llama_free"))(Context);
        ((delegate* unmanaged[Cdecl]<nint, void>)Function("llama_model_free"))(Model);
    }

    /// <summary>
    /// Keeps keys and values in float32 and switches flash attention off, which would round them to float16 all the same.
    /// </summary>
    private static void MakeExact(Span<int> parameters)
    {
        // Four choices are left to the library (−1): scaling of RoPE, pooling, attention, flash attention; type_k and type_v
        // stand behind other numbers and two pointers and are float16 (1). 0 is no flash attention, and float32.
        int choices = parameters.IndexOf([-1, -1, -1, -1]);
        Span<int> types = parameters[26..];
        if (choices is not (9 or 10) || types is not [1, 1])
            throw new NotSupportedException(
                $"This llama.cpp has other context parameters than expected: {string.Join(", ", parameters.ToArray())}.");
        parameters[choices + 3] = 0;
        types.Clear();
    }

    /// <summary>Loads the library and its best CPU code.</summary>
    private static nint Load(string folder)
    {
        nint ggml = NativeLibrary.Load(Library(folder, "libggml")), llama = NativeLibrary.Load(Library(folder, "libllama"));
        ((delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<int, byte*, nint, void>, nint, void>)
            NativeLibrary.GetExport(llama, "llama_log_set"))(&Hear, 0);
        ((delegate* unmanaged[Cdecl]<void>)NativeLibrary.GetExport(llama, "llama_backend_init"))();
        var count = (delegate* unmanaged[Cdecl]<nuint>)NativeLibrary.GetExport(ggml, "ggml_backend_dev_count");
        if (count() > 0)
            return llama;
        using var folderText = new Utf8(folder);
        ((delegate* unmanaged[Cdecl]<byte*, void>)NativeLibrary.GetExport(ggml, "ggml_backend_load_all_from_path"))(
            folderText.Pointer);
        // Debian's has its parts in a folder of their own, which it knows; LLamaSharp's has one, which it is linked to.
        if (count() == 0)
            ((delegate* unmanaged[Cdecl]<void>)NativeLibrary.GetExport(ggml, "ggml_backend_load_all"))();
        return llama;
    }

    /// <summary>The file of a library in a folder.</summary>
    public static string Library(string folder, string name) => Directory.Exists(folder)
        && Directory.GetFiles(folder, $"{name}.*").Where(path => path.EndsWith(".so", StringComparison.Ordinal)
            || path.Contains(".so.", StringComparison.Ordinal)).Order(StringComparer.Ordinal).FirstOrDefault() is { } path
        ? path
        : throw new FileNotFoundException(
            $"{folder} holds no {name}.so. It is the folder of a llama.cpp built as shared libraries, such as bins/linux-x64 of npm's @node-llama-cpp/linux-x64.");

    /// <summary>Errors are kept for exceptions, the rest is not printed.</summary>
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Hear(int level, byte* text, nint data)
    {
        if (level == LogError)
            s_lastError = Marshal.PtrToStringUTF8((nint)text)?.Trim() ?? "";
    }

    private nint Memory => ((delegate* unmanaged[Cdecl]<nint, nint>)Function("llama_get_memory"))(Context);

    private nint Function(string name) => NativeLibrary.GetExport(_library, name);

    /// <summary>Room for any version's parameters: the callee reads only what it knows.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 1024)]
    public struct Parameters
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

    public sealed class Utf8(string text) : IDisposable
    {
        public byte* Pointer { get; } = (byte*)Marshal.StringToCoTaskMemUTF8(text);

        public int Length { get; } = System.Text.Encoding.UTF8.GetByteCount(text);

        public void Dispose() => Marshal.FreeCoTaskMem((nint)Pointer);
    }
}
