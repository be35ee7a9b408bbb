using Skylight.Checkpoints;
using Skylight.Models;

namespace Skylight.Quantization;

/// <summary>The type of the layers' matrices.</summary>
public enum QuantizationType
{
    /// <summary>4 bits.</summary>
    Q4,

    /// <summary>8 bits.</summary>
    Q8,

    /// <summary>binary16: GGUF files of weights that are not quantised.</summary>
    F16,

    /// <summary>bfloat16: GGUF files of weights that are not quantised.</summary>
    BF16,

    /// <summary>binary32: GGUF files of weights that are not quantised.</summary>
    F32,
}

/// <summary>What a quantised model is written as.</summary>
public enum QuantizationFormat
{
    /// <summary>
    /// A language model and an mmproj for llama.cpp: Q4_0, Q8_0 or a plain type for the layers, the type of
    /// <see cref="QuantizerOptions.Embeddings"/> for embedding and head, that of <see cref="QuantizerOptions.Vision"/> for
    /// encoder and connector.
    /// </summary>
    Gguf,

    /// <summary>
    /// Safetensors in AutoAWQ's GEMM packing: 4 bits with zero points for the layers of the language model, in groups of
    /// 128 inputs (64 or 32 where the sizes ask for it); bfloat16 for all else.
    /// </summary>
    Awq,
}

/// <summary>The type of matrices outside of the language model's layers, in GGUF files.</summary>
public enum SideType
{
    /// <summary>binary16.</summary>
    F16,

    /// <summary>8 bits.</summary>
    Q8,

    /// <summary>4 bits.</summary>
    Q4,

    /// <summary>bfloat16.</summary>
    BF16,

    /// <summary>binary32.</summary>
    F32,
}

/// <summary>How a model is quantised.</summary>
public sealed record QuantizerOptions
{
    /// <summary>The type of the layers' weights.</summary>
    public QuantizationType Type { get; init; } = QuantizationType.Q4;

    /// <summary>What is written.</summary>
    public QuantizationFormat Format { get; init; } = QuantizationFormat.Gguf;

    /// <summary>GGUF: the type of embedding and head; by default 8 bits beside quantised layers, else that of the
    /// layers.</summary>
    public SideType? Embeddings { get; init; }

    /// <summary>GGUF: the type of encoder and connector; by default binary16 beside quantised layers, else that of the
    /// layers.</summary>
    public SideType? Vision { get; init; }

    /// <summary>
    /// Token sequences, with pictures or without, on whose activations scales of input channels are searched (AWQ, arXiv
    /// 2306.00978) and errors measured; empty to round to nearest, and measure the weights' own errors.
    /// </summary>
    public IReadOnlyList<TokenSequence> Calibration { get; init; } = [];

    /// <summary>What the model is called in GGUF files and their names; by default the folder's name.</summary>
    public string? Name { get; init; }

    /// <summary>Whether to go on with what was begun and not finished.</summary>
    public bool Resume { get; init; }

    /// <summary>The most bytes in one safetensors file; a single tensor may be larger.</summary>
    public long MaximumShardBytes { get; init; } = 5_000_000_000;

    /// <summary>The room on the disk of a folder: a test's way in.</summary>
    internal Func<string, long> FreeBytes { get; init; } = new CheckpointWriterOptions().FreeBytes;
}

/// <summary>How far a quantisation is.</summary>
/// <param name="Unit">What has been done last.</param>
/// <param name="Done">Units that are done.</param>
/// <param name="Total">All units.</param>
/// <param name="Report">Of a layer that has been done; null for other units.</param>
public readonly record struct QuantizationProgress(string Unit, int Done, int Total, LayerReport? Report);
