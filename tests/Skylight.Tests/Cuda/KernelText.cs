using System.Text.RegularExpressions;
using Skylight.Cuda;

namespace Skylight.Tests.Cuda;

/// <summary>Kernels with a mistake planted in them; how their lines are broken does not count.</summary>
internal static partial class KernelText
{
    /// <summary>A kernel with some of its headers in its text, and a mistake in any of them.</summary>
    /// <param name="resource">The kernel's file.</param>
    /// <param name="right">What it says; spaces and ends of lines do not count.</param>
    /// <param name="wrong">What it is to say.</param>
    /// <param name="headers">The headers, in an order in which each is named by the kernel or by one before it.</param>
    public static KernelSource Mistaken(string resource, string right, string wrong, params string[] headers)
    {
        KernelSource kernel = KernelSource.Resource(resource);
        string text = headers.Aggregate(kernel.Text, (all, name) => all.Replace($"#include \"{name}\"",
            KernelSource.Headers.Single(header => header.Name == name).Text
                .Replace("#pragma once", "", StringComparison.Ordinal), StringComparison.Ordinal));
        return kernel with { Text = Replace(text, right, wrong) };
    }

    /// <summary>Replaces a piece of a text wherever it is; it must be somewhere.</summary>
    public static string Replace(string text, string right, string wrong)
    {
        // Its first and last words may be parts of longer ones.
        string pattern = string.Join(@"\s*", Words().Matches(right).Select(word => Regex.Escape(word.Value)));
        Assert.Matches(pattern, text);
        return Regex.Replace(text, pattern, _ => wrong);
    }

    [GeneratedRegex(@"\w+|[^\w\s]")]
    private static partial Regex Words();
}
