using System.Numerics;

namespace Skylight.Training.Answers;

/// <summary>
/// Whether two answers are the same mathematics. The steps are limited: answers that need more are not the same.
/// </summary>
internal sealed class MathComparer
{
    private const int MostSteps = 20_000, Points = 8, FewestPoints = 3, MostUnordered = 64;

    private static readonly Dictionary<string, Complex> s_none = [];

    private int _steps;

    public static bool AreEqual(MathNode given, MathNode expected) =>
        new MathComparer().Same(Simplify(given), Simplify(expected));

    /// <summary>
    /// An equation that only names what is asked for ("x = 5") is its other side; a membership is its set.
    /// </summary>
    internal static MathNode Named(MathNode node) =>
        node is { Kind: MathKind.Relation, Name: "∈", Parts: [{ Kind: MathKind.Variable }, var set] } ? set
        : node.Kind == MathKind.Relation && node.Name.All(sign => sign == '=') && IsName(node.Parts[0]) ? node.Parts[^1]
        : node;

    // x, f(x), y(t), or words.
    private static bool IsName(MathNode node) =>
        node.IsVariable
            || node is
            {
                Kind: MathKind.Multiply,
                Parts: [{ IsVariable: true, Name: "f" or "g" or "h" or "y" or "P" or "p" or "F" }, { IsVariable: true }]
            };

    /// <summary>A chain of inequalities around one name is an interval.</summary>
    private static MathNode Simplify(MathNode node)
    {
        if (node is { Kind: MathKind.Relation, Name: "∈" })
            return Named(node);
        if (node is not { Kind: MathKind.Relation, Name.Length: 2, Parts: [var low, { IsVariable: true }, var high] })
            return node;
        return node.Name switch
        {
            "<<" => Interval("()", low, high),
            "<l" => Interval("(]", low, high),
            "l<" => Interval("[)", low, high),
            "ll" => Interval("[]", low, high),
            ">>" => Interval("()", high, low),
            ">g" => Interval("[)", high, low),
            "g>" => Interval("(]", high, low),
            "gg" => Interval("[]", high, low),
            _ => node,
        };
    }

    private static MathNode Interval(string brackets, MathNode low, MathNode high) =>
        new(MathKind.List, brackets, 0, low, high);

    private bool Same(MathNode given, MathNode expected)
    {
        if (++_steps > MostSteps)
            return false;
        if (given.Kind == MathKind.Relation && expected.Kind == MathKind.Relation)
            return SameRelation(given, expected);
        if (given.Kind == MathKind.Relation || expected.Kind == MathKind.Relation)
        {
            MathNode one = Half(Named(given), expected), other = Half(Named(expected), given);
            return one.Kind != MathKind.Relation && other.Kind != MathKind.Relation && Same(one, other);
        }

        if (given.Kind == MathKind.List || expected.Kind == MathKind.List)
            return SameList(given, expected);
        return SameQuantity(given, expected);
    }

    /// <summary>"x > 5" beside an interval is (5, ∞).</summary>
    private static MathNode Half(MathNode node, MathNode beside)
    {
        if (beside.Kind != MathKind.List || beside.Name.Length != 2
            || node is not { Kind: MathKind.Relation, Name.Length: 1, Parts: [var left, var right] })
            return node;
        if (left.Kind != MathKind.Variable && !right.IsVariable)
            return node;
        (char sign, MathNode bound) = left.Kind == MathKind.Variable ? (node.Name[0], right) : (Flip(node.Name[0]), left);
        var infinity = new MathNode(MathKind.Variable, @"\infty", 0);
        MathNode minus = MathNode.Of(MathKind.Negate, infinity);
        return sign switch
        {
            '<' => Interval("()", minus, bound),
            'l' => Interval("(]", minus, bound),
            '>' => Interval("()", bound, infinity),
            'g' => Interval("[)", bound, infinity),
            _ => node,
        };
    }

    private static char Flip(char sign) => sign switch { '<' => '>', '>' => '<', 'l' => 'g', 'g' => 'l', _ => sign };

    private bool SameRelation(MathNode given, MathNode expected)
    {
        if (given.Name.All(sign => sign == '=') && expected.Name.All(sign => sign == '=') && IsName(given.Parts[0])
            && IsName(expected.Parts[0])
            && SameName(given.Parts[0], expected.Parts[0]) && Same(given.Parts[^1], expected.Parts[^1]))
            return true;
        if (given.Name.Length != expected.Name.Length)
            return false;
        if (given.Name.Length > 1)
        {
            bool forward = given.Name == expected.Name
                && given.Parts.Zip(expected.Parts).All(pair => SameSide(pair.First, pair.Second));
            return forward
                || (string.Concat(given.Name.Reverse().Select(Flip)) == expected.Name
                    && given.Parts.Reverse().Zip(expected.Parts).All(pair => SameSide(pair.First, pair.Second)));
        }

        char sign = given.Name[0], other = expected.Name[0];
        if (sign == other && SameSide(given.Parts[0], expected.Parts[0]) && Same(given.Parts[1], expected.Parts[1]))
            return true;
        if (Flip(sign) == other && SameSide(given.Parts[0], expected.Parts[1])
            && SameSide(given.Parts[1], expected.Parts[0]))
            return true;
        if (given.Holds(MathKind.List) || expected.Holds(MathKind.List)
            || given.Parts.Concat(expected.Parts).Any(part => part is { Kind: MathKind.Variable, Name: "" }))
            return false;
        // The same up to a factor: 2x + 4y = 6 and x + 2y = 3. A negative one turns an inequality around.
        MathNode one = Difference(given), two = Difference(expected);
        return Ratio(one, two) is { } ratio
            && (sign is '=' or 'n' ? sign == other : ratio > 0 ? sign == other : Flip(sign) == other);
    }

    private static MathNode Difference(MathNode relation) =>
        MathNode.Of(MathKind.Add, relation.Parts[0], MathNode.Of(MathKind.Negate, relation.Parts[1]));

    private static bool SameName(MathNode given, MathNode expected) => given.Kind == MathKind.Variable
        ? expected.Kind == MathKind.Variable
        && string.Equals(given.Name, expected.Name, given.Name.StartsWith('\\') ? StringComparison.Ordinal
            : StringComparison.OrdinalIgnoreCase)
        : expected.Kind == given.Kind && given.Parts.Zip(expected.Parts).All(pair => SameName(pair.First, pair.Second));

    // "≤ 5" says it of whatever the other names.
    private bool SameSide(MathNode given, MathNode expected) =>
        (given is { Kind: MathKind.Variable, Name: "" } && expected.Kind == MathKind.Variable)
        || (expected is { Kind: MathKind.Variable, Name: "" } && given.Kind == MathKind.Variable) || Same(given, expected);

    private bool SameList(MathNode given, MathNode expected)
    {
        if (given.Kind != MathKind.List || expected.Kind != MathKind.List)
        {
            // A set or list of one is not its element, but "5" may be said of the only solution {5}.
            (MathNode list, MathNode other) = given.Kind == MathKind.List ? (given, expected) : (expected, given);
            return list is { Name: "{}", Parts: [var only] } && Same(Named(only), other);
        }

        bool isUnordered = IsUnordered(given) && IsUnordered(expected);
        bool areAlike = given.Name == expected.Name || isUnordered && given.Name != "∪" && expected.Name != "∪"
            || (given.Name.Length == 0 && expected.Name == "()") || (expected.Name.Length == 0 && given.Name == "()");
        if (!areAlike)
            return false;
        if (!isUnordered)
            return given.Parts.Length == expected.Parts.Length
                && given.Parts.Zip(expected.Parts).All(pair => Same(pair.First, pair.Second));
        return given.Parts.Length <= MostUnordered && expected.Parts.Length <= MostUnordered
            && given.Parts.All(part => expected.Parts.Any(other => SameItem(part, other)))
            && expected.Parts.All(part => given.Parts.Any(other => SameItem(part, other)));
    }

    private bool SameItem(MathNode given, MathNode expected) => Same(given, expected);

    private static bool IsUnordered(MathNode node) => node.Name is "" or "{}" or "∪";

    private bool SameQuantity(MathNode given, MathNode expected)
    {
        if (given.Unit is { } one && expected.Unit is { } two)
        {
            if (one.Dimension != two.Dimension)
                return false;
            double factor = one.Factor / two.Factor;
            return factor == 1 ? SameValue(given, expected)
                : SameValue(MathNode.Of(MathKind.Multiply, given, new MathNode(MathKind.Number, "", factor)), expected);
        }

        // 50 % is 0.5, and as a number of percent 50.
        if (given.Kind == MathKind.Percent != (expected.Kind == MathKind.Percent)
            && SameValue(Plain(given), Plain(expected)))
            return true;
        return SameValue(given, expected);

        static MathNode Plain(MathNode node) => node.Kind == MathKind.Percent ? node.Parts[0] : node;
    }

    private bool SameValue(MathNode given, MathNode expected)
    {
        // Digits that a double does not hold still count.
        if (Exact(given) is { } digits && Exact(expected) is { } others)
            return digits == others;
        (SortedSet<string> names, int valid) = (new(StringComparer.Ordinal), 0);
        given.AddVariables(names);
        expected.AddVariables(names);
        bool isConstant = names.Count == 0, cancels = Cancels(given) || Cancels(expected);
        for (int point = 0; point < (isConstant ? 1 : Points); point++)
        {
            _steps += 10;
            Dictionary<string, Complex> at = isConstant ? s_none : PointOf(names, point);
            Complex one = given.Evaluate(at), other = expected.Evaluate(at);
            if (!Complex.IsFinite(one) || !Complex.IsFinite(other))
                continue;
            valid++;
            double tolerance = (isConstant ? 1e-13 : 1e-9) * Math.Max(Complex.Abs(one), Complex.Abs(other))
                + (cancels ? 1e-12 : 0);
            if (Complex.Abs(one - other) > tolerance)
                return false;
        }

        return valid >= (isConstant ? 1 : FewestPoints);
    }

    private static double? Ratio(MathNode given, MathNode expected)
    {
        var names = new SortedSet<string>(StringComparer.Ordinal);
        given.AddVariables(names);
        expected.AddVariables(names);
        if (names.Count == 0)
            return null;
        double? ratio = null;
        int valid = 0;
        for (int point = 0; point < Points; point++)
        {
            Dictionary<string, Complex> at = PointOf(names, point);
            Complex now = given.Evaluate(at) / expected.Evaluate(at);
            if (!Complex.IsFinite(now) || now.Real == 0)
                continue;
            ratio ??= now.Real;
            valid++;
            if (Complex.Abs(now - ratio.Value) > 1e-9 * Math.Abs(ratio.Value))
                return null;
        }

        return valid >= FewestPoints ? ratio : null;
    }

    private static bool Cancels(MathNode node) => node.Kind is MathKind.Add or MathKind.Function
        && node.Name is not ("sqrt" or "root") || node.Parts.Any(Cancels);

    /// <summary>The canonical digits of a number that was written as one, with its sign.</summary>
    private static string? Exact(MathNode node)
    {
        bool negative = node.Kind == MathKind.Negate;
        if ((negative ? node.Parts[0] : node) is not { Kind: MathKind.Number, Digits: { Length: > 0 } digits })
            return null;
        string plain = digits.Contains('.', StringComparison.Ordinal) ? digits.TrimEnd('0').TrimEnd('.') : digits;
        plain = plain.TrimStart('0');
        if (plain.Length == 0)
            return "0";
        return (negative ? "-" : "") + (plain[0] == '.' ? "0" + plain : plain);
    }

    /// <summary>Values that follow from the names and the number of the point alone, the same in every run.</summary>
    private static Dictionary<string, Complex> PointOf(SortedSet<string> names, int point)
    {
        var values = new Dictionary<string, Complex>(StringComparer.Ordinal);
        foreach (string name in names)
        {
            ulong hash = 14695981039346656037UL + (ulong)point * 0x9E3779B97F4A7C15UL;
            foreach (char character in name)
                hash = (hash ^ character) * 1099511628211UL;
            hash ^= hash >> 32;
            hash *= 0xD6E8FEB86659FD93UL;
            hash ^= hash >> 32;
            // Negative ones too, for √(x²) is not x.
            double value = 0.3 + 2.9 * ((hash >> 11) * (1.0 / (1UL << 53)));
            values[name] = point % 2 == 1 && (hash & 1) == 1 || point == 3 ? -value : value;
        }

        return values;
    }
}
