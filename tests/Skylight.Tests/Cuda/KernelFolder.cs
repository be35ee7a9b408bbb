using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cuda;

/// <summary>
/// A kernel cache that tests of whole models share: they take many kernels, and compiling takes longer than running.
/// </summary>
public sealed class KernelFolder : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    /// <summary>Where it lies.</summary>
    public string Path => _folder["kernels"];

    /// <inheritdoc/>
    public void Dispose() => _folder.Dispose();
}
