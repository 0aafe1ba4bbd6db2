using System.IO.Pipelines;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Memory;
using BnService.Api.Errors;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace BnService.Api.Wire;

/// <summary>What takes the bytes of a body as they arrive.</summary>
internal interface IByteConsumer
{
    /// <summary>Takes bytes, whichever way they were cut on the road.</summary>
    void Take(ReadOnlySpan<byte> bytes);

    /// <summary>Called when what had arrived has been taken.</summary>
    ValueTask TakenAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Called where nothing more has arrived yet; returns when something has, or when there is nothing to be done meanwhile.
    /// </summary>
    ValueTask WaitingAsync(Task arrival, CancellationToken cancellationToken) => ValueTask.CompletedTask;
}

/// <summary>Sees bytes as they are read.</summary>
internal delegate void ByteWatch(ReadOnlySpan<byte> bytes);

/// <summary>
/// The bytes of a request's body as they arrive, decoded, counted and held to a limit. Whatever is wrong with them is a problem.
/// </summary>
internal sealed class RequestBytes(HttpRequest request, long limit)
{
    private readonly BodyReader _reader = new(request.BodyReader);
    private readonly ByteWatch? _watch = RequestContext.Of(request.HttpContext).Watch;
    private readonly RequestContext _metering = RequestContext.Of(request.HttpContext);
    private readonly RequestMemory? _memory = RequestMemory.Of(request.HttpContext);

    public long Limit => limit;

    /// <summary>Number of bytes in the body, where the request says it.</summary>
    public long? Length { get; } = request.ContentLength;

    public long Position { get; private set; }

    /// <summary>The bytes that are left, where the request says it; else the most that the limit leaves.</summary>
    public long MostLeft => (Length ?? limit) - Position;

    /// <summary>Lets somebody see the decoded bytes of a request's body as they are read.</summary>
    /// <param name="context">The request, of which nothing has been read yet.</param>
    public static void Watch(HttpContext context, ByteWatch watch) => RequestContext.Of(context).Watch = watch;

    /// <summary>Refuses a body whose length is over the limit before a byte of it is read.</summary>
    public void RequireAllowedLength()
    {
        if (Length > limit) throw TooLarge($"{Length}");
    }

    /// <summary>Refuses a body that announces more than the limit allows.</summary>
    /// <param name="length">The bytes that are to come after what has been taken.</param>
    public void RequireAllowedBehind(long length)
    {
        if (length > limit - Position) throw TooLarge($"one that announces {(ulong)length + (ulong)Position}");
    }

    /// <summary>Hands bytes on as they arrive.</summary>
    /// <exception cref="ProblemException">The body ends before, passes the limit, or cannot be read.</exception>
    public async ValueTask ReadAsync<TConsumer>(long? count, TConsumer consumer, string what)
        where TConsumer : IByteConsumer
    {
        var cancellationToken = request.HttpContext.RequestAborted;
        for (var left = count ?? long.MaxValue; left > 0;)
        {
            var next = NextAsync(cancellationToken).Preserve();
            if (!next.IsCompleted) await consumer.WaitingAsync(next.AsTask(), cancellationToken);
            var read = await next;
            var buffer = read.Buffer.Length > left ? read.Buffer.Slice(0, left) : read.Buffer;
            try
            {
                if (Position + buffer.Length > limit) throw TooLarge($"{Position + buffer.Length} or more");
                foreach (var segment in buffer)
                {
                    _watch?.Invoke(segment.Span);
                    consumer.Take(segment.Span);
                }
                left -= buffer.Length;
                Position += buffer.Length;
                _metering.BodyBytes = Position;
                // What has not said how large it would be has reserved nothing.
                if (Position > MemoryAdmission.SmallBytes) _memory?.Arrives();
            }
            finally
            {
                Advance(buffer.End);
            }
            await consumer.TakenAsync(cancellationToken);
            if (!read.IsCompleted || left == 0 || buffer.Length < read.Buffer.Length) continue;
            if (count is null) return;
            throw new ProblemException(ProblemCode.MalformedBody,
                $"the body ends after {Position} bytes, {left} bytes before the end of {what}");
        }
    }

    /// <summary>Waits until so many bytes have arrived, and leaves them where they are.</summary>
    /// <param name="count">How many; not more than are left.</param>
    /// <exception cref="ProblemException">The body ends before, or cannot be read.</exception>
    public async ValueTask WaitForAsync(int count)
    {
        _metering.IsAwaitingBody = true;
        try
        {
            var read = await _reader.ReadAtLeastAsync(count, request.HttpContext.RequestAborted);
            var arrived = read.Buffer.Length;
            Advance(read.Buffer.Start);
            if (arrived < count)
            {
                throw new ProblemException(ProblemCode.MalformedBody,
                    $"the body ends after {Position + arrived} bytes, {MostLeft - arrived} bytes before its end");
            }
        }
        catch (Exception exception) when (Refusal(exception) is { } refusal)
        {
            throw refusal;
        }
        finally
        {
            _metering.IsAwaitingBody = false;
        }
    }

    /// <summary>Reads so many bytes into memory that grows with what has arrived.</summary>
    /// <returns>The bytes; the caller's to dispose.</returns>
    public async ValueTask<BodyBuffer> ReadBufferAsync(long? count, string what)
    {
        var buffer = new BodyBuffer(count ?? Length);
        try
        {
            await ReadAsync(count, buffer, what);
            return buffer;
        }
        catch
        {
            buffer.Dispose();
            throw;
        }
    }

    public async ValueTask RequireEndAsync()
    {
        while (true)
        {
            var read = await NextAsync(request.HttpContext.RequestAborted);
            var isEmpty = read.Buffer.IsEmpty;
            Advance(read.Buffer.End);
            if (!isEmpty) throw new ProblemException(ProblemCode.MalformedBody, $"the body goes on after its {Position} bytes");
            if (read.IsCompleted) return;
        }
    }

    private async ValueTask<ReadResult> NextAsync(CancellationToken cancellationToken)
    {
        _metering.IsAwaitingBody = true;
        try
        {
            return await _reader.ReadAsync(cancellationToken);
        }
        catch (Exception exception) when (Refusal(exception) is { } refusal)
        {
            throw refusal;
        }
        finally
        {
            _metering.IsAwaitingBody = false;
        }
    }

    // The server tells of a stream that its client has reset when bytes of it are given back, and a moment later that the request is over.
    private void Advance(SequencePosition taken)
    {
        try
        {
            _reader.AdvanceTo(taken);
        }
        catch (IOException)
        {
            throw new ClientGoneException();
        }
    }

    // What of a failure is the sender's doing and has no status of its own yet; null for any other.
    private ProblemException? Refusal(Exception exception) => exception switch
    {
        BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => TooLarge("more"),
        BadHttpRequestException or ConnectionResetException => null,
        // What gzip, deflate and br say of bytes that are none of theirs.
        InvalidDataException or InvalidOperationException { Source: "System.IO.Compression.Brotli" } =>
            new ProblemException(ProblemCode.MalformedBody,
                "the body is not what Content-Encoding says: it cannot be decompressed, or ends too early"),
        // Kestrel's word for some chunks that are none.
        IOException => new ProblemException(ProblemCode.BadRequest, "the body cannot be read: its chunks are not what HTTP allows"),
        _ => null,
    };

    private ProblemException TooLarge(string length) =>
        new(ProblemCode.PayloadTooLarge, $"the body must be at most {limit} bytes {Why}, got {length}");

    private string Why => limit < request.HttpContext.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value.MaxBodyBytes
        ? "for this call" : "(Limits:MaxBodyBytes)";
}
