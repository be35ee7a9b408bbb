namespace Skylight.Training.Rewards;

/// <summary>Where and how an <see cref="OpenAiVerifier"/> asks.</summary>
public sealed record OpenAiVerifierOptions
{
    /// <summary>
    /// The base URL, as clients of OpenAI take it: <c>http://host:8000/v1</c>. <c>/chat/completions</c> is added to its
    /// path.
    /// </summary>
    public required Uri Endpoint { get; init; }

    /// <summary>The name of the model.</summary>
    public required string Model { get; init; }

    /// <summary>
    /// The name of the environment variable that holds the key; null for an endpoint without keys. The key itself is
    /// held by the client alone.
    /// </summary>
    public string? KeyVariable { get; init; }

    /// <summary>How the model is asked.</summary>
    public VerifierPrompt Prompt { get; init; } = new();

    /// <summary>The most tokens of a reply, thinking included.</summary>
    public int MaximumTokens { get; init; } = 256;

    /// <summary>
    /// A JSON object whose fields are added to each request, and replace those of the same name:
    /// <c>{"chat_template_kwargs": {"enable_thinking": false}}</c>. Null for none.
    /// </summary>
    public string? ExtraBody { get; init; }

    /// <summary>How long one attempt may take.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Attempts after the first.</summary>
    public int Retries { get; init; } = 4;

    /// <summary>
    /// The wait before the first retry; it doubles with each, and is drawn from half to one and a half of that.
    /// </summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait before a retry, also where the endpoint asks for a longer one.</summary>
    public TimeSpan LongestRetryDelay { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Reads an environment variable.</summary>
    public Func<string, string?> EnvironmentVariable { get; init; } = Environment.GetEnvironmentVariable;
}
