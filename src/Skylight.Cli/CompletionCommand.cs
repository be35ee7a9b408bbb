using System.CommandLine;

namespace Skylight.Cli;

/// <summary>
/// <c>skylight completion</c>: what a shell needs to complete the command, and the hidden command that it asks.
/// </summary>
internal static class CompletionCommand
{
    private const string Candidates = "complete";

    private static readonly (string Shell, string Script)[] s_scripts =
    [
        // Bash takes the part behind a colon or an equals sign for a word of its own.
        ("bash", """
            # source <(skylight completion bash)
            _skylight() {
                local line=${COMP_LINE:0:COMP_POINT} candidate typed
                typed=${line##*[[:space:]]}
                COMPREPLY=()
                while IFS= read -r candidate; do
                    [[ $typed != *[:=]* ]] || candidate=${candidate#"${typed%[:=]*}"?}
                    [[ -z $candidate ]] || COMPREPLY+=("$candidate")
                done < <(skylight complete -- "$line" 2>/dev/null)
            }
            complete -o default -F _skylight skylight

            """),
        ("zsh", """
            #compdef skylight
            # skylight completion zsh > a file _skylight in a folder of $fpath
            _skylight() {
                local -a candidates
                candidates=(${(f)"$(skylight complete -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
                if (( $#candidates )); then compadd -- $candidates; else _files; fi
            }
            compdef _skylight skylight

            """),
        ("fish", """
            # skylight completion fish > ~/.config/fish/completions/skylight.fish
            complete -c skylight -a '(skylight complete -- (commandline -cp | string collect --allow-empty) 2>/dev/null)'

            """),
        ("pwsh", """
            # skylight completion pwsh | Out-String | Invoke-Expression
            Register-ArgumentCompleter -Native -CommandName skylight -ScriptBlock {
                param($wordToComplete, $commandAst, $cursorPosition)
                $line = "$commandAst".PadRight($cursorPosition).Substring(0, $cursorPosition)
                skylight complete -- $line 2>$null | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_) }
            }

            """),
    ];

    public static Command Create()
    {
        var shell = new Argument<string>("shell") { Description = "The shell." };
        shell.AcceptOnlyFromAmong([.. s_scripts.Select(script => script.Shell)]);
        var command = new Command("completion",
            "Print the script that has a shell complete this command. Its first lines say where it belongs.") { shell };
        command.SetAction(parse =>
        {
            Console.Write(s_scripts.Single(script => script.Shell == parse.GetRequiredValue(shell)).Script);
            return 0;
        });
        return command;
    }

    /// <summary>What the scripts ask: the words that may stand at the end of a line.</summary>
    public static Command CreateCandidates()
    {
        var line = new Argument<string>("line") { Description = "What was typed, from the program's name to the cursor." };
        var command = new Command(Candidates,
            "List what may stand at the end of a line that is being typed; for shells.") { line };
        command.Hidden = true;
        command.SetAction(parse =>
        {
            foreach (string candidate in Complete(parse.GetRequiredValue(line)))
                Console.WriteLine(candidate);
            return 0;
        });
        return command;
    }

    /// <summary>
    /// What may stand at the end of a line. Options only where one was begun, so that elsewhere a shell offers its files.
    /// </summary>
    /// <param name="line">With the program first, however it was named.</param>
    internal static IReadOnlyList<string> Complete(string line)
    {
        string typed = line[(line.LastIndexOfAny([' ', '\t']) + 1)..];
        string rest = line.TrimStart();
        int end = rest.IndexOfAny([' ', '\t']);
        if (end < 0)
            return [];
        rest = rest[end..];
        // --device=c is completed as --device c is: System.CommandLine fails on the first.
        int equals = typed.StartsWith('-') ? typed.IndexOf('=', StringComparison.Ordinal) + 1 : 0;
        if (equals > 0)
            rest = $"{rest[..^typed.Length]}{typed[..(equals - 1)]} {typed[equals..]}";
        return [.. SkylightCommand.Create().Parse(rest).GetCompletions(rest.Length)
            .Select(candidate => typed[..equals] + candidate.Label)
            .Where(label => label.StartsWith(typed, StringComparison.Ordinal)
                && (typed.Length > 0 || label[0] is not ('-' or '/')) && label[0] != '/')
            .Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
    }
}
