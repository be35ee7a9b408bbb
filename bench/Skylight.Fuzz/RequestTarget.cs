using System.Text.Json.Nodes;
using Skylight.Server;

namespace Skylight.Fuzz;

/// <summary>The body of a request; the error that is sent back must itself be JSON.</summary>
/// <param name="name">What it asks for.</param>
internal abstract class RequestTarget(string name) : FuzzTarget(name)
{
    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    public sealed override void Run(byte[] input)
    {
        try
        {
            Read(input);
        }
        catch (ApiException exception)
        {
            JsonNode.Parse(exception.ToJson());
            throw;
        }
    }

    public sealed override bool IsDocumented(Exception exception) =>
        exception is ApiException { Status: 400 or 404, Message.Length: > 10 and < 600 };

    /// <summary>Reads a body to its end.</summary>
    protected abstract void Read(byte[] input);
}
