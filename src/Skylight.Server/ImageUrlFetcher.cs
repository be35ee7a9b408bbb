using System.Net;
using System.Net.Sockets;
using Skylight.Images;

namespace Skylight.Server;

/// <summary>
/// Fetches pictures that requests name by http or https URLs, for <see cref="SkylightServerOptions.ImageResolver"/>.
/// Addresses of the machine itself and of private networks are refused, whatever name leads to them and also after a
/// redirect: a client must not reach through the server what it could not reach itself.
/// </summary>
public sealed class ImageUrlFetcher : IDisposable
{
    private readonly HttpClient _client;
    private readonly long _mostBytes;

    /// <summary>Makes a fetcher; one serves any number of requests at once.</summary>
    /// <param name="mostBytes">The most bytes of a picture's file.</param>
    /// <param name="timeout">How long a picture may take; 20 seconds if null.</param>
    /// <param name="allowPrivateAddresses">Whether the machine itself and private networks may be asked too.</param>
    public ImageUrlFetcher(long mostBytes = 32L << 20, TimeSpan? timeout = null, bool allowPrivateAddresses = false)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(mostBytes, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(mostBytes, int.MaxValue);
        _mostBytes = mostBytes;
        var handler = new SocketsHttpHandler
        {
            // A proxy would resolve names itself.
            UseProxy = false,
            UseCookies = false,
            MaxAutomaticRedirections = 3,
            PooledConnectionLifetime = TimeSpan.FromMinutes(2),
            ConnectCallback = (context, cancellationToken) =>
                ConnectAsync(context.DnsEndPoint, allowPrivateAddresses, cancellationToken),
        };
        _client = new HttpClient(handler)
        {
            Timeout = timeout ?? TimeSpan.FromSeconds(20),
            MaxResponseContentBufferSize = mostBytes,
        };
        _client.DefaultRequestHeaders.UserAgent.ParseAdd("Skylight");
        _client.DefaultRequestHeaders.Accept.ParseAdd("image/*");
    }

    /// <summary>A picture's file.</summary>
    /// <param name="address">An http or https URL.</param>
    /// <param name="cancellationToken">Stops the fetching.</param>
    /// <exception cref="ImageException">The address is not allowed, does not answer, or sends too much.</exception>
    public async ValueTask<ReadOnlyMemory<byte>> FetchAsync(Uri address, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(address);
        try
        {
            using HttpResponseMessage response = await _client.GetAsync(address,
                HttpCompletionOption.ResponseHeadersRead, cancellationToken).ConfigureAwait(false);
            if (!response.IsSuccessStatusCode)
                throw new ImageException($"{address.Host} answers {(int)response.StatusCode}.");
            if (response.Content.Headers.ContentLength > _mostBytes)
                throw TooLarge();
            // The client's own limit does not hold for streams.
            using var content = new MemoryStream();
            using Stream stream = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
            byte[] buffer = new byte[64 << 10];
            int read;
            using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            timeout.CancelAfter(_client.Timeout);
            while ((read = await stream.ReadAsync(buffer, timeout.Token).ConfigureAwait(false)) > 0)
            {
                if (content.Length + read > _mostBytes)
                    throw TooLarge();
                content.Write(buffer, 0, read);
            }

            return content.ToArray();
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new ImageException($"{address.Host} takes too long to send the picture.", exception);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or SocketException)
        {
            string reason = exception.InnerException is ImageException inner ? inner.Message
                : $"{address.Host} cannot be reached or breaks off.";
            throw new ImageException(reason, exception);
        }

        ImageException TooLarge() =>
            new($"The picture at {address.Host} has more than the {_mostBytes:N0} bytes that are allowed.");
    }

    /// <summary>Closes its connections.</summary>
    public void Dispose() => _client.Dispose();

    /// <summary>Whether an address belongs to the open internet.</summary>
    internal static bool IsPublic(IPAddress address)
    {
        if (address.IsIPv4MappedToIPv6)
            address = address.MapToIPv4();
        byte[] bytes = address.GetAddressBytes();
        if (address.AddressFamily == AddressFamily.InterNetwork)
        {
            return (bytes[0], bytes[1], bytes[2]) is not (
                (0 or 10 or 127 or >= 224, _, _) or (100, >= 64 and < 128, _) or (169, 254, _)
                    or (172, >= 16 and < 32, _) or (192, 168, _) or (192, 0, 0)
                or (192, 0, 2) or (198, 18 or 19, _) or (198, 51, 100) or (203, 0, 113));
        }

        // Global unicast is 2000::/3; of it, 2001:0::/23 and 2002::/16 lead elsewhere, 2001:db8::/32 nowhere.
        return (bytes[0] & 0xE0) == 0x20 && !(bytes[0] == 0x20 && bytes[1] == 0x02)
            && !(bytes[0] == 0x20 && bytes[1] == 0x01 && (bytes[2] < 2 || (bytes[2] == 0x0D && bytes[3] == 0xB8)));
    }

    private static async ValueTask<Stream> ConnectAsync(DnsEndPoint endpoint, bool allowPrivate,
        CancellationToken cancellationToken)
    {
        IPAddress[] addresses = await Dns.GetHostAddressesAsync(endpoint.Host, cancellationToken).ConfigureAwait(false);
        if (!allowPrivate)
            addresses = [.. addresses.Where(IsPublic)];
        if (addresses.Length == 0)
            throw new ImageException($"{endpoint.Host} is not an address of the open internet; no others are fetched from.");
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(addresses, endpoint.Port, cancellationToken).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
