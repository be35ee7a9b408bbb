namespace Skylight.Cli.Demo;

/// <summary>How long a demo run is.</summary>
internal enum DemoPreset
{
    /// <summary>The run that the figures in the documentation are from.</summary>
    Full,

    /// <summary>Shorter, with a smaller gain.</summary>
    Quick,

    /// <summary>A few steps of every phase: shows that a device can do it all, and nothing about learning.</summary>
    Tiny,
}
