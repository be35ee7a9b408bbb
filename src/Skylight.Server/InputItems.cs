using System.Text.Json;
using System.Text.Json.Serialization;

namespace Skylight.Server;

/// <summary>A part of a kept item: a text or a picture.</summary>
/// <param name="Type">What it is: <c>input_text</c>, <c>output_text</c>, <c>reasoning_text</c>, <c>input_image</c>.</param>
/// <param name="Text">The text; of a picture its address, or what a data URL has before the comma.</param>
internal sealed record KeptPart(string Type, string Text)
{
    /// <summary>The file of a picture that came in a data URL.</summary>
    public ReadOnlyMemory<byte> File { get; init; }

    /// <summary>How fine a picture was to be read, where that was said.</summary>
    public string? Detail { get; init; }
}

/// <summary>An item of a conversation that is kept: what a client sent, or what the model wrote.</summary>
/// <param name="Id">What it is called.</param>
/// <param name="Type">What it is.</param>
/// <param name="Parts">Its texts and pictures.</param>
internal sealed record KeptItem(string Id, string Type, IReadOnlyList<KeptPart> Parts)
{
    public string Status { get; init; } = "completed";

    /// <summary>Of a message.</summary>
    public string? Role { get; init; }

    /// <summary>Of a call and of what it gave.</summary>
    public string? CallId { get; init; }

    /// <summary>Of a call.</summary>
    public string? Name { get; init; }

    /// <summary>Of a call.</summary>
    public string? Arguments { get; init; }

    /// <summary>Whether what a call gave came as a text and not as a list of parts.</summary>
    public bool IsText { get; init; }

    /// <summary>An item with an id of its own.</summary>
    public static KeptItem New(string type, IReadOnlyList<KeptPart> parts) =>
        new($"{Prefix(type)}_{Guid.NewGuid():N}", type, parts);

    /// <summary>What the model wrote.</summary>
    public static KeptItem Of(ResponseItem item) =>
        new(item.Id, item.Type, [.. (item.Content ?? []).Select(part => new KeptPart(part.Type, part.Text))])
        {
            Status = item.Status,
            Role = item.Role,
            CallId = item.CallId,
            Name = item.Name,
            Arguments = item.Arguments,
        };

    /// <summary>As it is sent.</summary>
    /// <param name="showsPictures">Whether pictures come with their files.</param>
    public InputItem ToBody(bool showsPictures)
    {
        const string Reasoning = "reasoning", Result = "function_call_output";
        InputPart[] parts = [.. Parts.Select(part => part.Type == "input_image"
            ? new InputPart(part.Type, null, showsPictures ? Url(part) : null, part.Detail ?? "auto")
            : new InputPart(part.Type, part.Text))];
        return new InputItem(Id, Type, Status, Role, Type is "message" or Reasoning ? parts : null,
            Type == Reasoning ? [] : null, CallId, Name, Arguments, Type != Result ? null
                : IsText ? JsonSerializer.SerializeToElement(string.Concat(parts.Select(part => part.Text)),
                    ServerJson.Compact.String)
                : JsonSerializer.SerializeToElement(parts, ServerJson.Compact.InputPartArray));
    }

    private static string Url(KeptPart part) =>
        part.File.IsEmpty ? part.Text : $"{part.Text},{Convert.ToBase64String(part.File.Span)}";

    private static string Prefix(string type) => type switch
    {
        "reasoning" => "rs",
        "function_call" => "fc",
        "function_call_output" => "fco",
        _ => "msg",
    };
}

/// <summary>An item, as a list of them has it.</summary>
internal sealed record InputItem(string Id, string Type, string Status, string? Role, IReadOnlyList<InputPart>? Content,
    IReadOnlyList<JsonElement>? Summary, string? CallId, string? Name, string? Arguments, JsonElement? Output);

/// <summary>A part of an item, as a list has it.</summary>
internal sealed record InputPart(string Type, string? Text, string? ImageUrl = null, string? Detail = null);

/// <summary>A page of items.</summary>
internal sealed record InputItemList(string Object, IReadOnlyList<InputItem> Data,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FirstId,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? LastId, bool HasMore);
