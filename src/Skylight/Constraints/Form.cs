using System.Text;

namespace Skylight.Constraints;

/// <summary>A form of bytes, put together of parts: what schemas, patterns and grammars are read into.</summary>
internal abstract record Form
{
    /// <summary>No bytes.</summary>
    public static Form Nothing { get; } = new Literal([]);

    /// <summary>Not even the empty text.</summary>
    public static Form Impossible { get; } = new Choice([]);

    /// <summary>These bytes.</summary>
    public sealed record Literal(byte[] Bytes) : Form;

    /// <summary>One byte of a range.</summary>
    public sealed record OneByte(byte Low, byte High) : Form;

    /// <summary>One part after the other.</summary>
    public sealed record Sequence(IReadOnlyList<Form> Parts) : Form;

    /// <summary>One of several parts.</summary>
    public sealed record Choice(IReadOnlyList<Form> Parts) : Form;

    /// <summary>A part several times; without <paramref name="Most"/> any number of times.</summary>
    public sealed record Repeated(Form Part, int Least, int? Most) : Form;

    /// <summary>What a rule says; a rule may call itself.</summary>
    public sealed record Call(Rule Rule) : Form;

    /// <summary>States with edges that are forms, from state 0.</summary>
    /// <param name="Accepts">Whether the form may end in each state.</param>
    /// <param name="Edges">From a state to another.</param>
    /// <param name="IsFree">Whether what is written here is no part of the form: thinking before an answer.</param>
    public sealed record Graph(bool[] Accepts, IReadOnlyList<(int From, Form Form, int To)> Edges, bool IsFree = false)
        : Form;

    /// <summary>A text in UTF-8.</summary>
    public static Form Text(string text) => new Literal(Encoding.UTF8.GetBytes(text));

    /// <summary>One part after the other.</summary>
    public static Form Of(params IReadOnlyList<Form> parts) => parts.Count == 1 ? parts[0] : new Sequence(parts);

    /// <summary>One of several parts.</summary>
    public static Form Either(params IReadOnlyList<Form> parts) => parts.Count == 1 ? parts[0] : new Choice(parts);

    /// <summary>A part or nothing.</summary>
    public static Form Optional(Form part) => new Repeated(part, 0, 1);

    /// <summary>One of several texts, as a tree of what they begin with.</summary>
    public static Form OneOf(IEnumerable<byte[]> texts)
    {
        var children = new List<SortedDictionary<byte, int>> { new() };
        var accepts = new List<bool> { false };
        foreach (byte[] text in texts)
        {
            int state = 0;
            foreach (byte value in text)
            {
                if (!children[state].TryGetValue(value, out int next))
                {
                    children[state].Add(value, next = children.Count);
                    children.Add([]);
                    accepts.Add(false);
                }

                state = next;
            }

            accepts[state] = true;
        }

        return new Graph([.. accepts], [.. children.SelectMany((next, state) => next.Select(
            child => (state, (Form)new OneByte(child.Key, child.Key), child.Value)))]);
    }

    /// <summary>Any bytes up to a mark, and the mark.</summary>
    public static Form FreeUntil(byte[] mark) => new Graph(
        [.. Enumerable.Range(0, mark.Length + 1).Select(state => state == mark.Length)], FreeEdges(mark), IsFree: true);

    /// <summary>Any bytes among which a mark is not; also none.</summary>
    public static Form FreeWithout(byte[] mark) => new Graph([.. mark.Select(_ => true)],
        [.. FreeEdges(mark).Where(edge => edge.To < mark.Length)]);

    /// <summary>The edges of an automaton whose state is how much of a mark has been read.</summary>
    private static List<(int From, Form Form, int To)> FreeEdges(byte[] mark)
    {
        var edges = new List<(int, Form, int)>();
        for (int state = 0; state < mark.Length; state++)
        {
            for (int value = 0, first = 0; value < 256; value++)
            {
                int target = After(state, (byte)value);
                if (value < 255 && After(state, (byte)(value + 1)) == target)
                    continue;
                edges.Add((state, new OneByte((byte)first, (byte)value), target));
                first = value + 1;
            }
        }

        return edges;

        // How much of the mark has been read when a byte follows so much of it.
        int After(int read, byte value)
        {
            byte[] text = [.. mark[..read], value];
            int length = Math.Min(text.Length, mark.Length);
            while (!text.AsSpan(text.Length - length).SequenceEqual(mark.AsSpan(0, length)))
                length--;
            return length;
        }
    }

    /// <summary>A regular set of texts, of which each character is written in some way.</summary>
    public static Form Characters(CharacterNfa texts, Func<CharacterSet, Form> write) =>
        new Graph([.. texts.Accepts], [.. texts.Edges.SelectMany((edges, state) => edges.Select(
            edge => (state, write(edge.Set), edge.Target)))]);
}

/// <summary>A form with a name, which others call.</summary>
/// <param name="name">What errors call it.</param>
internal sealed class Rule(string name)
{
    public string Name { get; } = name;

    public Form Body { get; set; } = Form.Impossible;
}
