using System.Text.Json;
using Skylight.Chat;
using Skylight.Images;

namespace Skylight.Tests.Images;

/// <summary>
/// Damaged files that Pillow decodes give the same bytes here; <c>pillow.json</c> holds its size and hash of each.
/// Those named
/// <c>mutated</c> are one of each kind of 9,000 that were made at random from cjpeg's output and from scratch, and
/// compared with Pillow 9.4 (libjpeg-turbo 2.1.5).
/// </summary>
public class FaultyPicturesTests
{
    private static readonly string Folder = Golden.PathOf("faults/pictures");

    public static TheoryData<string, int, int, string> Pillow
    {
        get
        {
            var data = new TheoryData<string, int, int, string>();
            using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "pillow.json")));
            foreach (JsonProperty picture in json.RootElement.EnumerateObject())
            {
                data.Add(picture.Name, picture.Value.GetProperty("width").GetInt32(),
                    picture.Value.GetProperty("height").GetInt32(),
                    picture.Value.GetProperty("rgb_sha256").GetString()!);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Pillow))]
    public void A_damaged_file_gives_the_bytes_that_Pillow_gives(string name, int width, int height, string hash)
    {
        RgbImage image = ImageDecoders.Standard.Decode(File.ReadAllBytes(Path.Combine(Folder, name)));
        Assert.Equal((width, height, hash), (image.Width, image.Height, ImageSamples.Hash(image)));
    }

    [Fact]
    public async Task The_limit_holds_for_the_bytes_that_are_read()
    {
        Assert.SkipUnless(File.Exists("/dev/zero"), "This system has no /dev/zero.");
        var limits = new ImageLimits { MaximumEncodedBytes = 200_000 };
        ImagePart picture = ImagePart.FromFile("/dev/zero");
        ImageException error = await Assert.ThrowsAsync<ImageException>(
            () => picture.OpenAsync(ImageDecoders.Standard, limits, TestContext.Current.CancellationToken));
        Assert.Contains("/dev/zero", error.Message);
        Assert.Contains("200,000", error.Message);
    }
}
