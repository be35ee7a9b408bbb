namespace Skylight.Cuda;

/// <summary>
/// A call of the driver, NVRTC or cuBLAS failed, or one of them was not found. The message names the call, the code and
/// what would help.
/// </summary>
public class CudaException : Exception
{
    /// <summary>Makes an exception.</summary>
    public CudaException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with its cause.</summary>
    public CudaException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception without a message.</summary>
    public CudaException()
    {
    }

    /// <summary>Makes an exception for a failed call.</summary>
    /// <param name="message">The call, the code and what would help.</param>
    /// <param name="code">The code that the call returned.</param>
    public CudaException(string message, int code)
        : base(message) => Code = code;

    /// <summary>
    /// The code that the call returned (<c>CUresult</c>, or cuBLAS's status); 0 when it was no call that failed.
    /// </summary>
    public int Code { get; }
}

/// <summary>A kernel source does not compile. The message holds the compiler's log, with file and line.</summary>
public sealed class KernelCompilationException : CudaException
{
    /// <summary>Makes an exception for a variant.</summary>
    public KernelCompilationException(KernelVariant variant, string log)
        : base($"{variant} does not compile:\n{log}") => Log = log;

    /// <summary>Makes an exception.</summary>
    public KernelCompilationException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with its cause.</summary>
    public KernelCompilationException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception without a message.</summary>
    public KernelCompilationException()
    {
    }

    /// <summary>What the compiler said.</summary>
    public string Log { get; } = "";
}
