using System.Globalization;
using System.Text;

namespace Skylight.Bench;

/// <summary>
/// A sweep as one picture of three panels, both axes logarithmic where both grow by factors: decoding by batch, prompts
/// by context, training by batch. Colours are written out, because a page shows the file as a picture.
/// </summary>
internal sealed class SweepChart(SweepResults results, string machine, bool isDark)
{
    private const double Width = 1000, Height = 372, Top = 84, Bottom = 316;

    private static readonly string[] s_light = ["#0b3d91", "#1f6fd1", "#4c9be8", "#d98200", "#c2410c", "#8b1a1a"];
    private static readonly string[] s_dark = ["#cfe3ff", "#8fc0ff", "#4c9be8", "#f2b04a", "#f07c3c", "#e0554f"];

    private readonly StringBuilder _svg = new();

    private string[] Colours => isDark ? s_dark : s_light;

    private string Ink => isDark ? "#e6edf3" : "#1f2328";

    private string Soft => isDark ? "#9198a1" : "#59636e";

    private string Rule => isDark ? "#3d444d" : "#d1d9e0";

    /// <summary>Draws it.</summary>
    public string ToSvg()
    {
        Add($"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {Width} {Height}" width="{Width}" height="{Height}" font-family="system-ui, sans-serif" font-size="12.5" role="img">""");
        Add($"<title>Tokens per second of {results.Model} by batch and context, and of training by batch</title>");
        Add($"""<rect width="{Width}" height="{Height}" rx="8" fill="{(isDark ? "#0d1117" : "#ffffff")}"/>""");
        Text(24, 30, $"{results.Model}, {results.Weights}", Ink, "start", bold: true, size: 14);
        Text(Width - 24, 30, $"{machine} · random weights", Soft, "end");
        Decoding(new Panel(58, 420));
        Prefill(new Panel(540, 730));
        Training(new Panel(820, 976));
        Add($"</svg>");
        return _svg.ToString();
    }

    private void Decoding(Panel panel)
    {
        Head(panel, "decoding: tokens/s of all sequences", "sequences side by side");
        int[] batches = [.. results.Decoding.Select(point => point.Batch).Distinct().Order()];
        (double low, double high) = Axis(panel, results.Decoding.Select(point => point.Speed));
        double X(int batch) => panel.Left + 12 + (panel.Right - panel.Left - 70)
            * (batches.Length == 1 ? 0.5 : Math.Log2((double)batch / batches[0]) / Math.Log2((double)batches[^1] / batches[0]));
        foreach (int batch in batches)
            Text(X(batch), Bottom + 18, Number(batch), Soft, "middle");
        double lowestLabel = double.NegativeInfinity;
        foreach ((int context, int colour) in results.Decoding.Select(point => point.Context).Distinct().Order()
            .Select((context, index) => (context, index)))
        {
            (double X, double Y)[] line = [.. results.Decoding.Where(point => point.Context == context)
                .OrderBy(point => point.Batch).Select(point => (X(point.Batch), Place(point.Speed, low, high)))];
            Line(line, Colours[colour % Colours.Length]);
            double y = line[^1].Y + 4;
            // Labels stand at the end of each line; those that end in one place one below the other.
            if (line[^1].X > panel.Right - 80)
                y = lowestLabel = Math.Max(y, lowestLabel + 14);
            Text(line[^1].X + 8, y, Short(context), Colours[colour % Colours.Length], "start", bold: true);
        }

        Text(panel.Right, Top - 8, "context of each", Soft, "end");
    }

    private void Prefill(Panel panel)
    {
        Head(panel, "prompt: tokens/s", "context, read on from half of it");
        (double low, double high) = Axis(panel, results.Prefill.Select(point => point.Speed), fromZero: true);
        (double X, double Y)[] line = [.. results.Prefill.Select((point, index) => (panel.Left + 14
            + (panel.Right - panel.Left - 28) * index / Math.Max(1, results.Prefill.Count - 1), Linear(point.Speed, low, high)))];
        Line(line, Colours[1]);
        for (int index = 0; index < line.Length; index++)
        {
            Text(line[index].X, Bottom + 18, Short(results.Prefill[index].To), Soft, "middle");
            Text(line[index].X, line[index].Y - 9, Number(results.Prefill[index].Speed), Ink, "middle");
        }
    }

    private void Training(Panel panel)
    {
        if (results.Training.Count == 0)
            return;
        Head(panel, "training: tokens/s", "samples a step (connector)");
        double high = Axis(panel, results.Training.Select(point => point.Speed), fromZero: true).High;
        double step = (panel.Right - panel.Left) / results.Training.Count;
        for (int index = 0; index < results.Training.Count; index++)
        {
            TrainingPoint point = results.Training[index];
            double middle = panel.Left + step * (index + 0.5), y = Linear(point.Speed, 0, high);
            Add($"""<rect x="{Place(middle - step * 0.3)}" y="{Place(y)}" width="{Place(step * 0.6)}" height="{Place(Bottom - y)}" rx="2" fill="{Colours[1]}"/>""");
            Text(middle, y - 7, Number(point.Speed), Ink, "middle");
            Text(middle, Bottom + 18, Number(point.Batch), Soft, "middle");
        }
    }

    private void Head(Panel panel, string title, string axis)
    {
        Text(panel.Left - 34, Top - 26, title, Ink, "start", bold: true);
        Text((panel.Left + panel.Right) / 2, Bottom + 40, axis, Soft, "middle");
    }

    /// <summary>Rules and their numbers; the lowest and the highest of them.</summary>
    private (double Low, double High) Axis(Panel panel, IEnumerable<double> values, bool fromZero = false)
    {
        double[] all = [.. values];
        double[] ticks;
        if (fromZero)
        {
            double size = Math.Pow(10, Math.Floor(Math.Log10(all.Max())));
            double step = size * (all.Max() / size) switch { <= 2 => 0.5, <= 5 => 1, _ => 2 };
            ticks = [.. Enumerable.Range(0, (int)Math.Ceiling(all.Max() * 1.08 / step) + 1).Select(index => index * step)];
        }
        else
        {
            int first = (int)Math.Floor(Math.Log2(all.Min() / 10)), last = (int)Math.Ceiling(Math.Log2(all.Max() / 10));
            ticks = [.. Enumerable.Range(first, last - first + 1).Select(power => 10 * Math.Pow(2, power))];
        }

        foreach (double tick in ticks)
        {
            double y = fromZero ? Linear(tick, ticks[0], ticks[^1]) : Place(tick, ticks[0], ticks[^1]);
            Add($"""<line x1="{Place(panel.Left)}" x2="{Place(panel.Right)}" y1="{Place(y)}" y2="{Place(y)}" stroke="{Rule}"/>""");
            Text(panel.Left - 6, y + 4, Number(tick), Soft, "end");
        }

        return (ticks[0], ticks[^1]);
    }

    private void Line((double X, double Y)[] points, string colour)
    {
        if (points.Length > 1)
            Add($"""<polyline points="{string.Join(' ', points.Select(point => $"{Place(point.X)},{Place(point.Y)}"))}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>""");
        foreach ((double x, double y) in points)
            Add($"""<circle cx="{Place(x)}" cy="{Place(y)}" r="3" fill="{colour}"/>""");
    }

    private void Text(double x, double y, string text, string colour, string anchor, bool bold = false, double size = 0) =>
        Add($"""<text x="{Place(x)}" y="{Place(y)}" fill="{colour}" text-anchor="{anchor}"{(bold ? " font-weight=\"600\"" : "")}{(size > 0 ? $" font-size=\"{Place(size)}\"" : "")}>{System.Security.SecurityElement.Escape(text)}</text>""");

    private void Add(FormattableString line) => _svg.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static double Place(double value, double low, double high) =>
        Bottom - Math.Log(value / low) / Math.Log(high / low) * (Bottom - Top);

    private static double Linear(double value, double low, double high) =>
        Bottom - (value - low) / (high - low) * (Bottom - Top);

    private static string Place(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    private static string Number(double value) => value.ToString(value < 10 ? "0.#" : "0", CultureInfo.InvariantCulture);

    private static string Short(int tokens) => tokens >= 1024 && tokens % 1024 == 0
        ? $"{Number(tokens / 1024)}k" : Number(tokens);

    private readonly record struct Panel(double Left, double Right);
}
