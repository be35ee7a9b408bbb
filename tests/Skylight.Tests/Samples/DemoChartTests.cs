using System.Globalization;
using System.Xml.Linq;

namespace Skylight.Tests.Samples;

/// <summary>The picture of README is of the run that docs/demo.md records.</summary>
public sealed class DemoChartTests
{
    private const double PixelsPerPercent = 1.05;

    [Theory]
    [InlineData("demo.svg")]
    [InlineData("demo-dark.svg")]
    public void The_bars_are_the_figures_of_the_record(string file)
    {
        string[] row = Assert.Single(MarkdownPage.Read("demo.md").Section("### The recipes as they are").Rows(),
            row => row[0] == "`--seed 1`");
        double[] recorded = [
            .. row.Skip(1).Take(5).Select(cell => double.Parse(cell.TrimEnd(' ', '%'), CultureInfo.InvariantCulture))];
        XElement picture = XDocument.Load(Repository.PathOf("docs", file)).Root!;
        XElement[] bars = [.. picture.Descendants().Where(element => (string?)element.Attribute("class") == "bar")];
        Assert.Equal(recorded, bars.Select(bar => Math.Round((double)bar.Attribute("height")! / PixelsPerPercent, 1)));
        string[] texts = [.. picture.Descendants().Where(element => element.Name.LocalName == "text")
            .Select(element => element.Value)];
        Assert.All(recorded, value => Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"{value:F1} %"), texts));
    }
}
