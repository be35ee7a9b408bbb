using System.Runtime.InteropServices;
using Skylight.Images;

namespace Skylight.Bench.Models;

/// <summary>A piece of a prompt as libmtmd has cut it: tokens of text, or the places of a picture's features.</summary>
/// <param name="Tokens">The text's tokens; null for a picture.</param>
/// <param name="Count">Tokens or features.</param>
/// <param name="Features">The features of a picture, [count, hidden]; null for text.</param>
internal sealed record PromptPiece(int[]? Tokens, int Count, float[]? Features);

/// <summary>
/// llama.cpp's libmtmd, which encodes pictures with an mmproj file: from the folder of a <see cref="LlamaCpp"/>, for its
/// model. Its structures belong to no stable interface: they are known by their defaults.
/// </summary>
internal sealed unsafe class LlamaCppPictures : IDisposable
{
    private const int MostTokens = 2048, DefaultThreads = 4, Automatic = -1;

    private readonly nint _library;
    private readonly nint _context;
    private readonly LlamaCpp _llama;

    /// <summary>Loads an encoder.</summary>
    /// <param name="llama">The language model; must outlive this.</param>
    /// <param name="path">The mmproj file.</param>
    /// <param name="threads">Threads.</param>
    public LlamaCppPictures(LlamaCpp llama, string path, int threads)
    {
        _llama = llama;
        _library = NativeLibrary.Load(LlamaCpp.Library(llama.Folder, "libmtmd"));
        foreach (string logger in (ReadOnlySpan<string>)["mtmd_log_set", "mtmd_helper_log_set"])
            ((delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<int, byte*, nint, void>, nint, void>)
                Function(logger))(LlamaCpp.Listener, 0);
        LlamaCpp.Parameters parameters =
            ((delegate* unmanaged[Cdecl]<LlamaCpp.Parameters>)Function("mtmd_context_params_default"))();
        // use_gpu, in newer versions a device, print_timings; n_threads; two pointers; flash_attn_type.
        Span<int> fields = new(&parameters, 12);
        int at = fields[1] == DefaultThreads ? 1 : 5;
        if (fields[at] != DefaultThreads || fields[at + 5] != Automatic)
            throw new NotSupportedException(
                $"This libmtmd has other parameters than expected: {string.Join(", ", fields.ToArray())}. Those of " +
                $"LLamaSharp.Backend.Cpu 0.30.0 and of llama.cpp 0.7.0 are known.");
        fields[0] = 0;
        fields[at - 1] = 0;
        fields[at] = threads;
        // Flash attention would round keys and values to float16.
        fields[at + 5] = 0;
        using var file = new LlamaCpp.Utf8(path);
        _context = ((delegate* unmanaged[Cdecl]<byte*, nint, LlamaCpp.Parameters, nint>)Function("mtmd_init_from_file"))(
            file.Pointer, llama.Model, parameters);
        if (_context == 0)
            throw new InvalidOperationException($"llama.cpp cannot load {path}: {LlamaCpp.LastError}");
    }

    /// <summary>What stands for a picture in a prompt.</summary>
    public string Marker => Marshal.PtrToStringUTF8(((delegate* unmanaged[Cdecl]<nint>)Function("mtmd_default_marker"))())!;

    /// <summary>Cuts a prompt, encodes its picture, and runs both through the language model, whose cache is empty.</summary>
    /// <param name="prompt">With <see cref="Marker"/> once.</param>
    /// <param name="picture">The picture.</param>
    /// <returns>The pieces of the prompt.</returns>
    public IReadOnlyList<PromptPiece> Read(string prompt, RgbImage picture)
    {
        nint chunks = ((delegate* unmanaged[Cdecl]<nint>)Function("mtmd_input_chunks_init"))(), bitmap;
        fixed (byte* pixels = picture.Pixels)
            bitmap = ((delegate* unmanaged[Cdecl]<uint, uint, byte*, nint>)Function("mtmd_bitmap_init"))(
                (uint)picture.Width, (uint)picture.Height, pixels);
        try
        {
            using var bytes = new LlamaCpp.Utf8(prompt);
            var text = new InputText { Text = bytes.Pointer, Length = (nuint)bytes.Length, ParsesSpecial = 1 };
            int status = ((delegate* unmanaged[Cdecl]<nint, nint, InputText*, nint*, nuint, int>)Function("mtmd_tokenize"))(
                _context, chunks, &text, &bitmap, 1);
            if (status != 0)
                throw new InvalidOperationException($"mtmd_tokenize answers {status}: {LlamaCpp.LastError}");
            nuint count = ((delegate* unmanaged[Cdecl]<nint, nuint>)Function("mtmd_input_chunks_size"))(chunks);
            var pieces = new List<PromptPiece>();
            for (nuint index = 0; index < count; index++)
                pieces.Add(Piece(((delegate* unmanaged[Cdecl]<nint, nuint, nint>)Function("mtmd_input_chunks_get"))(
                    chunks, index)));
            int position = 0;
            status = ((delegate* unmanaged[Cdecl]<nint, nint, nint, int, int, int, byte, int*, int>)
                Function("mtmd_helper_eval_chunks"))(_context, _llama.Context, chunks, 0, 0, MostTokens, 1, &position);
            return status == 0 && position == pieces.Sum(piece => piece.Count) ? pieces
                : throw new InvalidOperationException(
                    $"mtmd_helper_eval_chunks answers {status} at position {position}: {LlamaCpp.LastError}");
        }
        finally
        {
            ((delegate* unmanaged[Cdecl]<nint, void>)Function("mtmd_bitmap_free"))(bitmap);
            ((delegate* unmanaged[Cdecl]<nint, void>)Function("mtmd_input_chunks_free"))(chunks);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => ((delegate* unmanaged[Cdecl]<nint, void>)Function("mtmd_free"))(_context);

    private PromptPiece Piece(nint chunk)
    {
        const int Text = 0, Picture = 1;
        int type = ((delegate* unmanaged[Cdecl]<nint, int>)Function("mtmd_input_chunk_get_type"))(chunk);
        int count = (int)((delegate* unmanaged[Cdecl]<nint, nuint>)Function("mtmd_input_chunk_get_n_tokens"))(chunk);
        if (type == Text)
        {
            nuint length;
            int* tokens = ((delegate* unmanaged[Cdecl]<nint, nuint*, int*>)Function("mtmd_input_chunk_get_tokens_text"))(
                chunk, &length);
            return new PromptPiece(new ReadOnlySpan<int>(tokens, (int)length).ToArray(), count, null);
        }

        if (type != Picture || ((delegate* unmanaged[Cdecl]<nint, nint, int>)Function("mtmd_encode_chunk"))(_context, chunk) != 0)
            throw new InvalidOperationException($"llama.cpp does not encode the picture: {LlamaCpp.LastError}");
        float* features = ((delegate* unmanaged[Cdecl]<nint, float*>)Function("mtmd_get_output_embd"))(_context);
        return new PromptPiece(null, count, new ReadOnlySpan<float>(features, count * _llama.HiddenSize).ToArray());
    }

    private nint Function(string name) => NativeLibrary.GetExport(_library, name);

    /// <summary>mtmd_input_text.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct InputText
    {
        public byte* Text;
        public nuint Length;
        public byte AddsSpecial;
        public byte ParsesSpecial;
    }
}
