using Skylight.Chat;

namespace Skylight.Tests.Chat;

public sealed class PlainMessagesTests
{
    [Fact]
    public void The_names_of_parameters_are_left_out()
    {
        Assert.Equal("It is wrong.", PlainMessages.Of(new ArgumentException("It is wrong.", "messages")));
        Assert.Equal("It is wrong.", PlainMessages.Of(new ArgumentException("It is wrong.")));
        Assert.Equal("It is (Parameter 'x') so.", PlainMessages.Of(new InvalidDataException("It is (Parameter 'x') so.")));
        Assert.StartsWith("Too many.", PlainMessages.Of(new ArgumentOutOfRangeException("count", 3, "Too many.")),
            StringComparison.Ordinal);
    }
}
