using System.Globalization;
using System.Net;

namespace Skylight.Hub;

/// <summary>
/// Brings one file into the cache: into <c>HASH.incomplete</c>, which stays when it is stopped and is gone on with, by
/// whoever comes next; under its name only once its hash was found right.
/// </summary>
internal sealed class HubDownload(HubClient client, HubCache cache, HubSettings settings, DownloadMeter meter,
    RepositoryId id, string commit, HubFile file)
{
    private const string Incomplete = ".incomplete";

    // What makes a cut connection one that gets on.
    private const int EnoughBytes = 1 << 20;

    private long _there;
    private ContentCheck _check = new(file);

    /// <summary>What there is of a file, from an attempt before.</summary>
    public static long BytesOf(HubCache cache, RepositoryId id, HubFile file)
    {
        string part = cache.Blob(id, file) + Incomplete;
        return File.Exists(part) && BoundedFile.Length(part) is var bytes && bytes <= file.Length ? bytes : 0;
    }

    /// <summary>Downloads the file, unless it is there.</summary>
    /// <exception cref="HubException">It cannot be had, or is not what the hub says it is.</exception>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using IDisposable held = await cache.LockAsync(id, file,
            () => meter.Tell(file, $"Another program downloads '{file.Path}'; waiting for it."), cancellationToken)
                .ConfigureAwait(false);
        if (cache.Has(id, commit, file))
        {
            meter.Complete(file);
            return;
        }

        bool isNew = !cache.HasBlob(id, file);
        if (isNew)
        {
            try
            {
                await FetchAsync(cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                _check.Dispose();
            }
        }

        cache.Show(id, commit, file, isNew);
        meter.Complete(file);
    }

    private async Task FetchAsync(CancellationToken cancellationToken)
    {
        string blob = cache.Blob(id, file), part = blob + Incomplete;
        bool isRight;
        using (FileStream stream = Open(part))
        {
            bool isOfNow = await ReadAsync(stream, cancellationToken).ConfigureAwait(false) == 0;
            await FillAsync(stream, cancellationToken).ConfigureAwait(false);
            string found = _check.Finish();
            if (found != file.Hash && !isOfNow)
            {
                // What an earlier attempt left was spoilt, or of another file: once more, from the beginning.
                Restart(stream);
                await FillAsync(stream, cancellationToken).ConfigureAwait(false);
                found = _check.Finish();
            }

            isRight = found == file.Hash;
            if (!isRight)
                Guard(part, () => stream.SetLength(0));
            Guard(part, () => stream.Flush(flushToDisk: true));
            if (!isRight)
            {
                stream.Dispose();
                Guard(part, () => File.Delete(part));
                throw new HubException(HubFault.Untrusted,
                    $"'{file.Path}' of {id} is not what {settings.EndpointName} says it is: its " +
                    $"{(file.Sha256 is null ? "SHA-1" : "SHA-256")} should be {file.Hash} and is {found}. " +
                    $"Nothing of it was kept. Pull again; if it stays so, something between here and the hub " +
                    $"changes files.");
            }
        }

        Guard(blob, () => File.Move(part, blob, overwrite: true));
    }

    /// <summary>Asks until all bytes are there.</summary>
    private async Task FillAsync(FileStream stream, CancellationToken cancellationToken)
    {
        for (int tried = 1; _there < file.Length; tried++)
        {
            long before = _there;
            try
            {
                await AppendAsync(stream, cancellationToken).ConfigureAwait(false);
            }
            catch (PassingFaultException fault)
            {
                if (_there - before >= EnoughBytes)
                    tried = 1;
                meter.Tell(file, $"'{file.Path}': {fault.Message} Trying again.");
                await client.PauseAsync($"'{file.Path}' of {id}", fault, tried, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>One request.</summary>
    private async Task AppendAsync(FileStream stream, CancellationToken cancellationToken)
    {
        using HttpResponseMessage response = await client.OpenAsync(id, commit, file, _there, cancellationToken)
            .ConfigureAwait(false);
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable)
        {
            bool isWhole = _there == 0;
            Restart(stream);
            throw new PassingFaultException(isWhole ? "The server says that it has no such part of it."
                : "The server does not go on where it broke off; it is begun anew.")
            {
                RetryAfter = isWhole ? null
                : TimeSpan.Zero
            };
        }

        long? length = response.Content.Headers.ContentLength;
        if (response.StatusCode == HttpStatusCode.PartialContent)
        {
            if (response.Content.Headers.ContentRange is not { From: { } from } range || from != _there)
            {
                Restart(stream);
                throw new PassingFaultException(
                    "The server sends another part of it than it was asked for; it is begun anew.")
                {
                    RetryAfter =
                        TimeSpan.Zero
                };
            }

            length = range.Length;
        }
        else if (_there > 0)
        {
            // A server that knows no ranges, or has another content now.
            Restart(stream);
        }

        if (length is { } said && said != file.Length)
            throw new HubException(HubFault.Untrusted,
                string.Create(CultureInfo.InvariantCulture,
                    $"'{file.Path}' of {id} has {said:N0} bytes where it is fetched from, but " +
                    $"{settings.EndpointName} lists it with {file.Length:N0}. Pull again."));
        await CopyAsync(response, stream, cancellationToken).ConfigureAwait(false);
        if (_there < file.Length)
            throw new PassingFaultException(string.Create(CultureInfo.InvariantCulture,
                $"The connection ended after {_there:N0} of {file.Length:N0} bytes."));
    }

    private async Task CopyAsync(HttpResponseMessage response, FileStream stream, CancellationToken cancellationToken)
    {
        byte[] buffer = new byte[256 << 10];
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        string host = response.RequestMessage?.RequestUri?.Host ?? settings.EndpointName;
        try
        {
            using Stream content = await response.Content.ReadAsStreamAsync(timeout.Token).ConfigureAwait(false);
            while (true)
            {
                timeout.CancelAfter(settings.Options.Timeout);
                int read = await content.ReadAsync(buffer, timeout.Token).ConfigureAwait(false);
                if (read == 0)
                    return;
                if (read > file.Length - _there)
                    throw new HubException(HubFault.Untrusted,
                        string.Create(CultureInfo.InvariantCulture,
                            $"'{file.Path}' of {id} goes on beyond the {file.Length:N0} bytes that " +
                            $"{settings.EndpointName} lists it with. Pull again."));
                Guard(stream.Name, () => stream.Write(buffer, 0, read));
                _check.Append(buffer.AsSpan(0, read));
                _there += read;
                meter.Add(file, _there, read, isReceived: true);
            }
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw client.Silent(host, exception);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            throw new PassingFaultException(HubClient.Sentence(exception), exception);
        }
    }

    private FileStream Open(string part)
    {
        FileStream? stream = null;
        Guard(part, () =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(part)!);
            stream = new FileStream(part, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read, bufferSize: 0);
        });
        return stream!;
    }

    /// <summary>Takes in what an attempt before has left.</summary>
    /// <returns>How much that is.</returns>
    private async Task<long> ReadAsync(FileStream stream, CancellationToken cancellationToken)
    {
        if (stream.Length > file.Length)
            Guard(stream.Name, () => stream.SetLength(0));
        byte[] buffer = new byte[1 << 20];
        while (await stream.ReadAsync(buffer, cancellationToken).ConfigureAwait(false) is var read and > 0)
        {
            _check.Append(buffer.AsSpan(0, read));
            _there += read;
            meter.Add(file, _there, read, isReceived: false);
        }

        return _there;
    }

    private void Restart(FileStream stream)
    {
        Guard(stream.Name, () => stream.SetLength(0));
        meter.Add(file, 0, -_there, isReceived: false);
        _there = 0;
        _check.Dispose();
        _check = new ContentCheck(file);
    }

    private void Guard(string path, Action act)
    {
        try
        {
            act();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw HubCache.CannotWrite(path, exception, $"'{file.Path}' of {id}: ");
        }
    }
}
