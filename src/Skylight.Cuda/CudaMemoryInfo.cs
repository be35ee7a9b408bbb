namespace Skylight.Cuda;

/// <summary>The memory of a card.</summary>
/// <param name="FreeBytes">What can still be reserved, by any process.</param>
/// <param name="TotalBytes">All of it.</param>
public readonly record struct CudaMemoryInfo(long FreeBytes, long TotalBytes);
