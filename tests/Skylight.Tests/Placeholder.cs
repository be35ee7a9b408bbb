namespace Skylight.Tests;
public class Placeholder { [Fact] public void Builds() => Assert.Equal("[2, 3]", new Skylight.Tensors.Shape(2, 3).ToString()); }
