using System.CommandLine;

namespace Skylight.Cli.Chat;

/// <summary>A command that decides itself what Ctrl-C and the end of the process mean; the others are cancelled.</summary>
internal sealed class SignalHandlingCommand(string name, string description) : Command(name, description);
