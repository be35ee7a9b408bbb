using System.Text;

namespace Skylight.Training.Reports;

/// <summary>One line of a chart.</summary>
/// <param name="Name">Its name in the legend.</param>
/// <param name="Style">CSS class that carries its colour.</param>
/// <param name="Points">Its points by rising x; those without a finite y are left out.</param>
/// <param name="Dots">Whether the points are drawn as dots and nothing is smoothed.</param>
public sealed record ChartSeries(string Name, string Style, IReadOnlyList<(double X, double? Y)> Points, bool Dots = false);

/// <summary>A line chart as inline SVG: thin measured lines, thick smoothed ones, and a value at the end of each.</summary>
public sealed class LineChart
{
    private const double Width = 560;
    private const double Height = 250;
    private const double Left = 46;
    private const double Right = 56;
    private const double Top = 22;
    private const double Bottom = 34;
    private const double LabelHeight = 15;
    private const int FewestPointsToSmooth = 12;

    /// <summary>What it shows, for readers that do not see it.</summary>
    public required string Description { get; init; }

    /// <summary>The lines.</summary>
    public required IReadOnlyList<ChartSeries> Series { get; init; }

    /// <summary>How a value is written.</summary>
    public required Func<double, string> Format { get; init; }

    /// <summary>The largest value that the axis must reach; more if the data does.</summary>
    public double? Maximum { get; init; }

    /// <summary>Whether the axis starts at 0; if not, just below the data, which shows small changes.</summary>
    public bool FromZero { get; init; } = true;

    /// <summary>A place on the x axis to mark, and its label.</summary>
    public (double X, string Label)? Mark { get; init; }

    /// <summary>Draws the chart; a line of text if there is nothing to draw.</summary>
    public string ToSvg()
    {
        (ChartSeries Series, (double X, double Y)[] Points)[] drawn =
        [
            .. Series.Select(series => (series, Finite(series.Points))).Where(series => series.Item2.Length > 0),
        ];
        if (drawn.Length == 0)
            return "<p class=\"empty\">Nothing was measured.</p>";

        double firstX = drawn.Min(series => series.Points[0].X);
        double lastX = Math.Max(firstX + 1, drawn.Max(series => series.Points[^1].X));
        double lowestY = drawn.Min(series => series.Points.Min(point => point.Y));
        if (FromZero)
            lowestY = Math.Min(0, lowestY);
        double highestY = drawn.Max(series => series.Points.Max(point => point.Y));
        double[] ticks = Ticks(lowestY, Math.Max(highestY, Maximum ?? highestY));

        double PlaceX(double x) => Left + (x - firstX) / (lastX - firstX) * (Width - Left - Right);
        double PlaceY(double y) => Height - Bottom - (y - ticks[0]) / (ticks[^1] - ticks[0]) * (Height - Top - Bottom);

        var svg = new StringBuilder();
        svg.Append($"<svg class=\"chart\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" " +
            $"aria-label=\"{Markup.Escape(Description)}\">");
        DrawAxes(svg, ticks, PlaceY,
            [.. Ticks(firstX, lastX, 6).Where(x => x >= firstX && x <= lastX && x == Math.Floor(x))], PlaceX);
        if (Mark is (double markX, string label) && markX >= firstX && markX <= lastX)
            DrawMark(svg, PlaceX(markX), label);

        foreach ((ChartSeries series, (double X, double Y)[] points) in drawn)
        {
            (double X, double Y)[] placed = [.. points.Select(point => (PlaceX(point.X), PlaceY(point.Y)))];
            DrawSeries(svg, series, placed);
            DrawHoverTargets(svg, series, points, placed);
        }

        DrawEndLabels(svg, [.. drawn.Where(series => !series.Series.Dots)], PlaceY);
        return svg.Append("</svg>").ToString();
    }

    private static (double X, double Y)[] Finite(IReadOnlyList<(double X, double? Y)> points) =>
        [.. points.Where(point => point.Y is double y && double.IsFinite(y)).Select(point => (point.X, point.Y!.Value))];

    private void DrawAxes(StringBuilder svg, double[] ticks, Func<double, double> placeY, double[] steps,
        Func<double, double> placeX)
    {
        foreach (double tick in ticks)
        {
            string y = Markup.Coordinate(placeY(tick));
            svg.Append($"<line class=\"grid\" x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{y}\" y2=\"{y}\"/>");
            svg.Append($"<text class=\"tick\" x=\"{Left - 8}\" y=\"{y}\" dy=\"0.35em\" " +
                $"text-anchor=\"end\">{Markup.Escape(Format(tick))}</text>");
        }

        foreach (double step in steps)
            svg.Append($"<text class=\"tick\" x=\"{Markup.Coordinate(placeX(step))}\" y=\"{Height - Bottom + 20}\" " +
                $"text-anchor=\"middle\">{Markup.Number(step)}</text>");
        svg.Append($"<text class=\"tick\" x=\"{Width - Right + 16}\" y=\"{Height - Bottom + 20}\">step</text>");
    }

    private static void DrawMark(StringBuilder svg, double x, string label)
    {
        // The label stands on the side where there is room for it.
        bool leftOfLine = x > Width / 2;
        svg.Append($"<line class=\"mark\" x1=\"{Markup.Coordinate(x)}\" x2=\"{Markup.Coordinate(x)}\" " +
            $"y1=\"{Top - 12}\" y2=\"{Height - Bottom}\"/>");
        svg.Append($"<text class=\"mark-label\" x=\"{Markup.Coordinate(x + (leftOfLine ? -6 : 6))}\" y=\"{Top - 6}\" " +
            $"text-anchor=\"{(leftOfLine ? "end" : "start")}\">{Markup.Escape(label)}</text>");
    }

    private static void DrawSeries(StringBuilder svg, ChartSeries series, (double X, double Y)[] placed)
    {
        if (series.Dots || placed.Length == 1)
        {
            foreach ((double x, double y) in placed)
                svg.Append($"<circle class=\"dot {series.Style}\" cx=\"{Markup.Coordinate(x)}\" " +
                    $"cy=\"{Markup.Coordinate(y)}\" r=\"4\"/>");
            return;
        }

        bool smooth = placed.Length >= FewestPointsToSmooth;
        if (smooth)
            svg.Append($"<path class=\"raw {series.Style}\" d=\"{Path(placed)}\"/>");
        svg.Append($"<path class=\"line {series.Style}\" d=\"{Path(smooth ? Smooth(placed) : placed)}\"/>");
    }

    // Browsers show a <title> on hover: values without a script.
    private void DrawHoverTargets(StringBuilder svg, ChartSeries series, (double X, double Y)[] points,
        (double X, double Y)[] placed)
    {
        for (int index = 0; index < points.Length; index++)
        {
            svg.Append($"<circle class=\"hover\" cx=\"{Markup.Coordinate(placed[index].X)}\" " +
                $"cy=\"{Markup.Coordinate(placed[index].Y)}\" r=\"5\">");
            svg.Append($"<title>{Markup.Escape($"{series.Name}, step {Markup.Number(points[index].X)}: {Format(points[index].Y)}")}</title></circle>");
        }
    }

    private void DrawEndLabels(
        StringBuilder svg, (ChartSeries Series, (double X, double Y)[] Points)[] drawn, Func<double, double> placeY)
    {
        double previous = double.NegativeInfinity;
        foreach ((ChartSeries series, double value) in drawn
            .Select(line => (line.Series, Value: line.Points.Length >= FewestPointsToSmooth ? Smooth(line.Points)[^1].Y
                : line.Points[^1].Y))
            .OrderByDescending(line => line.Value))
        {
            // From the top down; a label that would cover the one above it moves below it.
            double y = Math.Max(placeY(value), previous + LabelHeight);
            previous = y;
            svg.Append($"<text class=\"end {series.Style}\" x=\"{Width - Right + 8}\" y=\"{Markup.Coordinate(y)}\" " +
                $"dy=\"0.35em\">{Markup.Escape(Format(value))}</text>");
        }
    }

    /// <summary>A centred moving average over about a tenth of the points.</summary>
    private static (double X, double Y)[] Smooth((double X, double Y)[] points)
    {
        int reach = Math.Max(1, points.Length / 20);
        var smooth = new (double X, double Y)[points.Length];
        for (int index = 0; index < points.Length; index++)
        {
            int first = Math.Max(0, index - reach);
            int last = Math.Min(points.Length - 1, index + reach);
            double sum = 0;
            for (int near = first; near <= last; near++)
                sum += points[near].Y;
            smooth[index] = (points[index].X, sum / (last - first + 1));
        }

        return smooth;
    }

    private static string Path((double X, double Y)[] placed) =>
        "M" + string.Join('L', placed.Select(point => $"{Markup.Coordinate(point.X)} {Markup.Coordinate(point.Y)}"));

    /// <summary>Round numbers that reach from the lowest to the highest value, or beyond.</summary>
    internal static double[] Ticks(double low, double high, int wanted = 4)
    {
        if (high <= low)
            high = low + 1;

        double rough = (high - low) / wanted;
        double magnitude = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        double step = magnitude * (rough / magnitude) switch { <= 1 => 1, <= 2 => 2, <= 2.5 => 2.5, <= 5 => 5, _ => 10 };
        long first = (long)Math.Floor(low / step + 1e-9);
        long last = (long)Math.Ceiling(high / step - 1e-9);
        return [.. Enumerable.Range(0, (int)(last - first) + 1).Select(index => Math.Round((first + index) * step, 12))];
    }
}
