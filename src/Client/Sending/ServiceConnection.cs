using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.Extensions.Logging;

namespace BnService.Client.Sending;

/// <summary>Sends calls until they are answered, refused, or have been tried as long as the options allow.</summary>
internal sealed class ServiceConnection
{
    private static readonly ActivitySource Activities = new(BnClient.ActivitySourceName);

    private readonly HttpClient _http;
    private readonly BnClientOptions _options;
    private readonly Uri _address;

    /// <param name="http">Whose connections are used.</param>
    /// <param name="options">The options, checked.</param>
    /// <param name="logger">Where repetitions are told of.</param>
    public ServiceConnection(HttpClient http, BnClientOptions options, ILogger logger)
    {
        (_http, _options, Logger) = (http, options, logger);
        var address = options.Address ?? http.BaseAddress
            ?? throw new ArgumentException("neither BnClientOptions.Address nor HttpClient.BaseAddress says where the service is");
        // Without the slash a relative path would take the place of the last part.
        _address = address.AbsolutePath.EndsWith('/') ? address : new UriBuilder(address) { Path = $"{address.AbsolutePath}/" }.Uri;
    }

    /// <summary>Where repetitions are told of.</summary>
    public ILogger Logger { get; }

    /// <summary>Sends a call whose answer is JSON.</summary>
    public Task<T> SendAsync<T>(ServiceCall call, JsonTypeInfo<T> contract, CancellationToken cancellationToken) =>
        SendAsync(call, async (content, token) =>
            JsonSerializer.Deserialize(await ReadWholeAsync(content, token).ConfigureAwait(false), contract) ?? throw new InvalidDataException("null"), cancellationToken);

    /// <summary>Sends a call whose answer says nothing.</summary>
    public Task SendAsync(ServiceCall call, CancellationToken cancellationToken) =>
        SendAsync(call, static (_, _) => ValueTask.FromResult(true), cancellationToken);

    /// <summary>Sends a call.</summary>
    /// <param name="call">The call.</param>
    /// <param name="read">Reads its answer; again from the start where the connection was lost meanwhile.</param>
    /// <param name="cancellationToken">Ends it at once.</param>
    /// <exception cref="BnServiceException">It was refused, or not answered.</exception>
    public async Task<T> SendAsync<T>(ServiceCall call, Func<HttpContent, CancellationToken, ValueTask<T>> read, CancellationToken cancellationToken)
    {
        using var activity = Activities.StartActivity($"bnservice {call.Name}", ActivityKind.Internal);
        activity?.SetTag("bnservice.call", call.Name).SetTag("bnservice.session", call.Session);
        var (begin, mayHaveHappened) = (_options.Time.GetTimestamp(), false);
        for (var attempt = 1; ; attempt++)
        {
            var (failure, result) = await TryAsync(call, read, cancellationToken).ConfigureAwait(false);
            activity?.SetTag("bnservice.attempts", attempt);
            if (failure is null)
            {
                Logger.CallAnswered(call.Name, call.Session, attempt);
                return result!;
            }
            cancellationToken.ThrowIfCancellationRequested();
            mayHaveHappened |= failure.MayHaveHappened;
            var delay = DelayAfter(attempt, failure);
            var isOver = !failure.IsTransient || (failure.IsLost && !call.IsRepeatable) || attempt > _options.MaxRetries
                || _options.Time.GetElapsedTime(begin) + delay > _options.RetryTime;
            if (isOver)
            {
                if (failure.IsTransient || failure.IsLost) Logger.CallGivenUp(call.Name, call.Session, attempt, failure.Code);
                else Logger.CallRefused(call.Name, call.Session, failure.Code, failure.TraceId);
                activity?.SetStatus(ActivityStatusCode.Error, failure.Code).SetTag("error.type", failure.Code);
                throw failure.ToException(attempt, mayHaveHappened);
            }
            Logger.CallRepeated(call.Name, call.Session, failure.Code, attempt, delay);
            activity?.AddEvent(new ActivityEvent("repeated", tags: new ActivityTagsCollection { ["error.type"] = failure.Code }));
            await Task.Delay(delay, _options.Time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>The bytes of an answer.</summary>
    /// <exception cref="IOException">It ends before it is as long as it says.</exception>
    public static async ValueTask<byte[]> ReadWholeAsync(HttpContent content, CancellationToken cancellationToken)
    {
        var announced = content.Headers.ContentLength;
        var bytes = await content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false);
        return announced is null || announced == bytes.Length ? bytes : throw new EndOfStreamException($"the answer ends after {bytes.Length} of {announced} bytes");
    }

    private async ValueTask<(Failure? Failure, T? Result)> TryAsync<T>(
        ServiceCall call, Func<HttpContent, CancellationToken, ValueTask<T>> read, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(_options.AttemptTimeout, _options.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        try
        {
            using var request = call.ToRequest(_http, _address, _options.ApiKey);
            using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token).ConfigureAwait(false);
            if (!response.IsSuccessStatusCode) return (await Failure.OfAsync(response, _options.Time, either.Token).ConfigureAwait(false), default);
            return (null, await read(response.Content, either.Token).ConfigureAwait(false));
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested && Failure.Of(exception, timeout.IsCancellationRequested) is not null)
        {
            return (Failure.Of(exception, timeout.IsCancellationRequested), default);
        }
        catch (Exception exception) when (cancellationToken.IsCancellationRequested)
        {
            // A connection that is given up fails in its own way.
            throw new OperationCanceledException("the call was cancelled", exception, cancellationToken);
        }
    }

    // Twice as long each time, half of it by chance, so that clients that were refused together do not come back together.
    private TimeSpan DelayAfter(int attempt, Failure failure)
    {
        var longest = Math.Min(_options.MaxDelay.TotalMilliseconds, _options.FirstDelay.TotalMilliseconds * Math.Pow(2, attempt - 1));
        var delay = TimeSpan.FromMilliseconds(longest * (0.5 + (0.5 * Random.Shared.NextDouble())));
        return failure.RetryAfter > delay ? failure.RetryAfter.Value : delay;
    }
}
