namespace Skylight.Hub;

/// <summary>Why a model could not be had.</summary>
public enum HubFault
{
    /// <summary>A setting is not usable: an endpoint, a token, a name, a pattern.</summary>
    Setting,

    /// <summary>There is no such repository, or it is private and the token does not open it.</summary>
    NotFound,

    /// <summary>The repository has no such revision.</summary>
    RevisionNotFound,

    /// <summary>The repository is there, but its owner lets in only those who accepted its conditions.</summary>
    Gated,

    /// <summary>The token is refused.</summary>
    Token,

    /// <summary>The network may not be used, and the cache does not have it.</summary>
    Offline,

    /// <summary>The hub cannot be reached, breaks off or is overloaded.</summary>
    Unreachable,

    /// <summary>What the hub says or sends contradicts itself, or is not what hubs say.</summary>
    Untrusted,

    /// <summary>The repository holds nothing that can be loaded.</summary>
    NoCheckpoint,

    /// <summary>The disk is too small or cannot be written.</summary>
    Disk,
}

/// <summary>A model could not be had from the hub or its cache; the message says what of it, and what to do.</summary>
public sealed class HubException : Exception
{
    /// <summary>Makes an error.</summary>
    /// <param name="fault">Of what kind it is.</param>
    /// <param name="message">What is wrong and what to do.</param>
    /// <param name="innerException">What the system reported, if anything.</param>
    public HubException(HubFault fault, string message, Exception? innerException = null)
        : base(message, innerException) => Fault = fault;

    /// <summary>Of what kind it is.</summary>
    public HubFault Fault { get; }
}

/// <summary>Something that may be otherwise in a moment: a cut connection, an overloaded server.</summary>
internal sealed class PassingFaultException(string message, Exception? innerException = null)
    : Exception(message, innerException)
{
    /// <summary>How long the server asks to wait.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>Whether nobody was reached at all, so that a few tries tell as much as many.</summary>
    public bool IsUnreachable { get; init; }
}
