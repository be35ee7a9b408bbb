#region README: structured
using System.ComponentModel.DataAnnotations;
using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Constraints;

public enum Animal
{
    Cat,
    Dog,
    Other,
}

public sealed record Sighting(Animal Animal, [property: Range(1, 9)] int Count, [property: MaxLength(20)] string Place);

public static class StructuredSample
{
    // An object of a class, from a picture.
    public static async Task<Sighting> SeeAsync(IChatClient client, byte[] png, CancellationToken cancellationToken)
    {
        ChatMessage question = new(ChatRole.User,
            [new DataContent(png, "image/png"), new TextContent("Which animals are there, how many, and where?")]);
        ChatResponse<Sighting> response = await client.GetResponseAsync<Sighting>([question],
            new ChatOptions { MaxOutputTokens = 300, Seed = 1 }, cancellationToken: cancellationToken);
        return response.Result;
    }

    // One of a few texts, and literal text around other forms.
    public static async Task<string> JudgeAsync(ChatModel model, CancellationToken cancellationToken)
    {
        Constraint answer = Constraint.Sequence(
            Constraint.Text("Answer: "), Constraint.Choice("yes", "no"),
            Constraint.Text(", with a certainty of "), Constraint.Regex(@"100|[1-9]?\d"), Constraint.Text(" %."));
        ChatAnswer given = await model.CompleteAsync([Message.User("Is 2027 prime?")],
            new GenerationOptions { Constraint = answer, Seed = 1, MaxOutputTokens = 60 }, cancellationToken);
        return given.Answer;
    }
}
#endregion
