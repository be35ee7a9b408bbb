using Skylight.Graphs;

namespace Skylight.Training;

/// <summary>Which parts of a model are trained; the rest is frozen and costs no backward work.</summary>
[Flags]
public enum TrainableModules
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>The vision encoder.</summary>
    Vision = 1,

    /// <summary>The connector.</summary>
    Connector = 2,

    /// <summary>The language model, its embedding and head included.</summary>
    Language = 4,

    /// <summary>Everything.</summary>
    All = Vision | Connector | Language,
}

/// <summary>Maps parameters to modules.</summary>
public static class TrainableModuleExtensions
{
    /// <summary>Whether a parameter belongs to one of the modules.</summary>
    public static bool Includes(this TrainableModules modules, PersistentTensor parameter)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        return modules.HasFlag(ModuleOf(parameter));
    }

    /// <summary>The one module that a parameter belongs to.</summary>
    internal static TrainableModules ModuleOf(PersistentTensor parameter) =>
        parameter.Name[..parameter.Name.IndexOf('.', StringComparison.Ordinal)] switch
        {
            "vision" => TrainableModules.Vision,
            "connector" => TrainableModules.Connector,
            "language" => TrainableModules.Language,
            _ => throw new ArgumentException($"'{parameter.Name}' belongs to no known module."),
        };
}
