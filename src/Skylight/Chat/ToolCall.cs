namespace Skylight.Chat;

/// <summary>A call of a tool.</summary>
/// <param name="Id">Tells it from other calls; what the tool gave is found by it in other programs' conversations. The
/// model does not read it.</param>
/// <param name="Name">The tool.</param>
/// <param name="Arguments">A JSON object as text.</param>
public sealed record ToolCall(string Id, string Name, string Arguments);

/// <summary>A piece of a call of a tool, while the model writes it.</summary>
/// <param name="Index">Which of the answer's calls it belongs to, from 0.</param>
/// <param name="Id">The call's, in every piece.</param>
/// <param name="Name">The tool, in every piece.</param>
/// <param name="Arguments">What is new of the arguments' text; may be empty.</param>
/// <param name="IsFirst">Whether it is the call's first piece.</param>
/// <param name="IsComplete">Whether it is the call's last piece. A call that has none was cut off.</param>
public sealed record ToolCallUpdate(int Index, string Id, string Name, string Arguments, bool IsFirst, bool IsComplete);
