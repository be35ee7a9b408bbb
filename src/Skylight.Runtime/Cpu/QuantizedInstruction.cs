namespace Skylight.Cpu;

/// <summary>What sums up products of codes: integers, so that all have the same bits.</summary>
internal enum QuantizedInstruction
{
    /// <summary>Managed loops.</summary>
    Managed,

    /// <summary><c>vpdpbusd</c> on vectors of 256 bits (AVX-VNNI), without assembled code.</summary>
    Vectors,

    /// <summary><c>vpdpbusd</c> (AVX512_VNNI), with codes as they lie in memory.</summary>
    DotProducts,

    /// <summary><c>tdpbssd</c> (AMX_INT8), with codes that are unpacked for many rows.</summary>
    Matrices,
}
