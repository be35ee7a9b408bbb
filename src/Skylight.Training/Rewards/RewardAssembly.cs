using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;

namespace Skylight.Training.Rewards;

/// <summary>
/// Loads rewards that users have compiled themselves. A host that is compiled together with its rewards needs none of
/// this: it makes them.
/// </summary>
public static class RewardAssembly
{
    private const string Why =
        "What a loaded assembly uses is not known when a program is trimmed or compiled ahead of time.";

    /// <summary>Loads a reward from an assembly, with what it needs from the assembly's folder.</summary>
    /// <param name="path">The .dll file.</param>
    /// <param name="typeName">The class's full name; its short name if no other class of the assembly has it.</param>
    /// <param name="options">Options for its constructor, which takes a dictionary of texts; empty for a constructor
    /// without parameters.</param>
    /// <exception cref="NotSupportedException">This program was compiled ahead of time.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ArgumentException">It is no assembly, was built for another version, has no such class, or the
    /// class is no reward or cannot be made.</exception>
    [RequiresUnreferencedCode(Why)]
    [RequiresDynamicCode(Why)]
    public static IReward Load(string path, string typeName, IReadOnlyDictionary<string, string>? options = null) =>
        Load(path, typeName, options ?? new Dictionary<string, string>(), RuntimeFeature.IsDynamicCodeSupported);

    [RequiresUnreferencedCode(Why)]
    [RequiresDynamicCode(Why)]
    internal static IReward Load(string path, string typeName, IReadOnlyDictionary<string, string> options, bool canLoad)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        ArgumentException.ThrowIfNullOrWhiteSpace(typeName);
        if (!canLoad)
        {
            throw new NotSupportedException(
                $"This program was compiled ahead of time and cannot load the assembly '{path}'. Run it on the .NET " +
                $"runtime (dotnet, not PublishAot), or compile the reward into it.");
        }

        path = Path.GetFullPath(path);
        if (!File.Exists(path))
            throw new FileNotFoundException(
                $"There is no assembly '{path}' with the reward '{typeName}'; build its project first.", path);
        try
        {
            Assembly assembly = new RewardLoadContext(path).LoadFromAssemblyPath(path);
            CheckVersion(assembly, path);
            return Make(Find(assembly, typeName, path), options, path);
        }
        catch (BadImageFormatException exception)
        {
            throw new ArgumentException(
                $"'{path}' is no .NET assembly, or one for another platform: {exception.Message}", exception);
        }
        catch (Exception exception)
            when (exception is TypeLoadException or MissingMemberException or ReflectionTypeLoadException
                or FileLoadException or FileNotFoundException)
        {
            string reason = exception is ReflectionTypeLoadException { LoaderExceptions: [{ } first, ..] }
                ? first.Message : exception.Message;
            throw new ArgumentException(
                $"The reward '{typeName}' of '{path}' cannot be loaded: {reason} Build it for Skylight {OurVersion} " +
                $"and put what it needs beside it (dotnet publish).", exception);
        }
    }

    private static Version OurVersion => typeof(IReward).Assembly.GetName().Version!;

    /// <summary>
    /// Before 1.0 each minor version may change what rewards see; after it, a newer one has what an older one had.
    /// </summary>
    [RequiresUnreferencedCode(Why)]
    private static void CheckVersion(Assembly assembly, string path)
    {
        foreach (AssemblyName used in assembly.GetReferencedAssemblies()
            .Where(name => name.Name == typeof(IReward).Assembly.GetName().Name))
        {
            (Version theirs, Version ours) = (used.Version!, OurVersion);
            if (theirs.Major != ours.Major || theirs.Minor > ours.Minor || (ours.Major == 0 && theirs.Minor != ours.Minor))
                throw new ArgumentException(
                    $"'{path}' was built for Skylight {theirs}, and this is {ours}: build it again with that version.");
        }
    }

    [RequiresUnreferencedCode(Why)]
    private static Type Find(Assembly assembly, string typeName, string path)
    {
        Type[] types = assembly.GetTypes();
        Type[] found = [.. types.Where(type => type.FullName == typeName)];
        if (found.Length == 0)
            found = [.. types.Where(type => type.Name == typeName)];
        string[] rewards = [.. types.Where(type => type.IsAssignableTo(typeof(IReward))
            && type is { IsAbstract: false, ContainsGenericParameters: false })
            .Select(type => type.FullName!).Order(StringComparer.Ordinal)];
        string there = rewards.Length == 0 ? "It has no class that implements IReward."
            : $"It has the rewards {string.Join(", ", rewards)}.";
        if (found.Length != 1)
            throw new ArgumentException(
                $"'{path}' has {(found.Length == 0 ? "no class" : "several classes")} '{typeName}'. {there}");
        if (!found[0].IsAssignableTo(typeof(IReward)))
            throw new ArgumentException(
                $"The class '{typeName}' of '{path}' does not implement {typeof(IReward).FullName}. {there}");
        if (found[0] is { IsAbstract: true } or { ContainsGenericParameters: true })
            throw new ArgumentException(
                $"The class '{typeName}' of '{path}' is abstract or generic and cannot be made. {there}");
        return found[0];
    }

    [RequiresUnreferencedCode(Why)]
    private static IReward Make(Type type, IReadOnlyDictionary<string, string> options, string path)
    {
        Type[] accepted = [typeof(IReadOnlyDictionary<string, string>), typeof(IDictionary<string, string>),
            typeof(Dictionary<string, string>)];
        ConstructorInfo? withOptions = type.GetConstructors().FirstOrDefault(
            constructor => constructor.GetParameters() is [var only] && accepted.Contains(only.ParameterType));
        ConstructorInfo? without = type.GetConstructor(Type.EmptyTypes);
        if (withOptions is null && without is null)
            throw new ArgumentException(
                $"The reward '{type.FullName}' of '{path}' has no public constructor without parameters, nor one " +
                $"with an IReadOnlyDictionary<string, string> for its options.");
        if (withOptions is null && options.Count > 0)
        {
            string given = string.Join(", ", options.Keys.Select(name => $"'{name}'"));
            throw new ArgumentException(
                $"The reward '{type.FullName}' of '{path}' takes no options but is given {given}: give it a " +
                $"constructor with an IReadOnlyDictionary<string, string>, or leave them out.");
        }

        try
        {
            return (IReward)(withOptions is not null ? withOptions.Invoke([new Dictionary<string, string>(options)])
                : without!.Invoke(null));
        }
        catch (TargetInvocationException exception) when (exception.InnerException is { } inner)
        {
            throw new ArgumentException(
                $"The constructor of the reward '{type.FullName}' of '{path}' fails: {RewardException.Describe(inner)}",
                inner);
        }
    }

    /// <summary>
    /// The assembly's own packages come from its folder; Skylight is this program's, or its IReward would be another
    /// one.
    /// </summary>
    [RequiresUnreferencedCode(Why)]
    private sealed class RewardLoadContext(string path) : AssemblyLoadContext($"reward {path}")
    {
        private static readonly HashSet<string> s_ours =
        [
            typeof(IReward).Assembly.GetName().Name!,
            .. typeof(IReward).Assembly.GetReferencedAssemblies().Select(name => name.Name!)
            .Where(name => name.Split('.')[0] == nameof(Skylight)),
        ];

        private readonly AssemblyDependencyResolver _resolver = new(path);

        protected override Assembly? Load(AssemblyName assemblyName) =>
            s_ours.Contains(assemblyName.Name ?? "") ? null : _resolver.ResolveAssemblyToPath(assemblyName) is { } file
                ? LoadFromAssemblyPath(file) : null;

        protected override nint LoadUnmanagedDll(string unmanagedDllName) =>
            _resolver.ResolveUnmanagedDllToPath(unmanagedDllName) is { } file ? LoadUnmanagedDllFromPath(file) : 0;
    }
}
