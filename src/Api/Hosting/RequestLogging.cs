using System.Diagnostics;
using System.IO.Pipelines;
using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Hosting.Connections;
using BnService.Api.Hosting.Edge;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Serilog;
using Serilog.Events;
using Serilog.Formatting.Json;

namespace BnService.Api.Hosting;

/// <summary>Structured logging: one event per request, readable on a terminal, JSON in a container.</summary>
internal static partial class RequestLogging
{
    // What the server says of what clients do: streams that are reset faster than they end are too many, and it ends the connection, as it
    // should.
    private static readonly string[] ClientTexts = ["exceeded the output operations maximum queue size."];

    /// <summary>Makes Serilog the only logger, configured from the section <c>Serilog</c> and <c>Telemetry:LogFormat</c>.</summary>
    public static void AddStructuredLogging(this WebApplicationBuilder builder)
    {
        // A process may have several services, as tests have them: none takes the static logger.
        builder.Services.AddSerilog(static (services, logger) =>
        {
            var configuration = services.GetRequiredService<IConfiguration>();
            logger.ReadFrom.Configuration(configuration).Enrich.FromLogContext()
                // What the host says of each request has its query in it; a request's own event has what may be told.
                .MinimumLevel.Override("Microsoft.AspNetCore.Hosting.Diagnostics", LogEventLevel.Warning)
                .Enrich.With(new SessionOfRequest())
                .Filter.ByExcluding(log => Array.Exists(ClientTexts, text =>
                    log.MessageTemplate.Text.EndsWith(text, StringComparison.Ordinal)))
                // The program tells it in a line when it ends.
                .Filter.ByExcluding(log => log.MessageTemplate.Text == "Hosting failed to start"
                    && StartFailure.LinesOf(log.Exception!) is not null)
                .Enrich.With(HasOtherSinks(configuration) ? [new PlainProperties()] : [])
                .WriteTo.Sink(new ConsoleBatches(WritesJson(configuration) ? new JsonFormatter(renderMessage: true) : new TextEvents()),
                    ConsoleBatches.Options);
        }, preserveStaticLogger: true);
    }

    /// <summary>Logs one event per request when its answer has been sent.</summary>
    /// <remarks>
    /// UseSerilogRequestLogging logs as Serilog.AspNetCore alone, which the level that is set for BnService.Request would not reach.
    /// </remarks>
    public static void UseRequestLogging(this IApplicationBuilder app)
    {
        var logger = app.ApplicationServices.GetRequiredService<ILoggerFactory>().CreateLogger("BnService.Request");
        var calls = app.ApplicationServices.GetRequiredService<CallMeter>();
        var places = app.ApplicationServices.GetRequiredService<Places>();
        var strangers = app.ApplicationServices.GetRequiredService<WrongKeys>();
        var heads = app.ApplicationServices.GetService<IMemoryPoolFactory<byte>>() is PinnedBlockPoolFactory { Blocks: var blocks }
            ? new HeadMemory(blocks) : null;
        app.Use(async (context, next) =>
        {
            var started = Stopwatch.GetTimestamp();
            var metering = RequestContext.Of(context);
            var body = context.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
            context.Features.Set<IHttpResponseBodyFeature>(new MeteredResponseBody(body, metering, context));
            context.Response.OnStarting(EdgeComposition.SecureAsync, context.Response);
            var isProbe = RequestRate.IsHealth(context.Request.Path);
            if (!isProbe) places.Begin();
            calls.Begun();
            var place = ConnectionPlace.Of(context);
            place?.Begin();
            if (place is not null) heads?.Count(context, place);
            try
            {
                await next(context);
            }
            finally
            {
                place?.End();
                if (!isProbe) places.End();
                var status = metering.IsHungUp || context.RequestAborted.IsCancellationRequested ? StatusCodes.Status499ClientClosedRequest
                    : context.Response.StatusCode;
                var (method, call, elapsed) = (Excerpt.Of(context.Request.Method), metering.PathTemplate
                    ?? "(none)", Stopwatch.GetElapsedTime(started));
                calls.Answered(method, call, status, elapsed, metering,
                    context.Response.Headers.ContainsKey(IdempotencyKey.ReplayedHeader));
                Describe(Activity.Current, method, metering.PathTemplate, status);
                if (!metering.IsOneOfMany && (place is not { IsKnown: false } || strangers.IsLogged()))
                    LogRequest(logger, method, call, metering.Session, status, elapsed.TotalMilliseconds, metering.BodyBytes,
                        metering.AnswerBytes);
            }
        });
    }

    private static void Describe(Activity? request, string method, string? call, int status)
    {
        if (request is not { IsAllDataRequested: true }) return;
        request.DisplayName = call is null ? method : $"{method} {call}";
        request.SetTag("http.request.method", method).SetTag("http.route", call).SetTag("http.response.status_code", status);
        if (status >= StatusCodes.Status500InternalServerError) request.SetStatus(ActivityStatusCode.Error);
    }

    private static bool HasOtherSinks(IConfiguration configuration) =>
        configuration.GetSection("Serilog:WriteTo").Exists() || configuration.GetSection("Serilog:AuditTo").Exists();

    private static bool WritesJson(IConfiguration configuration) => configuration["Telemetry:LogFormat"] switch
    {
        "json" => true,
        "text" => false,
        _ => ServiceComposition.IsInContainer(configuration),
    };

    [LoggerMessage(Level = LogLevel.Information,
        Message = "{Method} {Path} session {Session} answered {Status} in {ElapsedMilliseconds:F1} ms, {RequestBytes} bytes in, " +
            "{AnswerBytes} bytes out")]
    private static partial void LogRequest(
        Microsoft.Extensions.Logging.ILogger logger, string method, string path, string? session, int status, double elapsedMilliseconds,
        long requestBytes, long answerBytes);

    // Counts what is written, whichever way it is written.
    private sealed class MeteredResponseBody(IHttpResponseBodyFeature inner, RequestContext metering, HttpContext context)
        : IHttpResponseBodyFeature
    {
        private MeteredWriter? _writer;

        public Stream Stream => Writer.AsStream(leaveOpen: true);

        public PipeWriter Writer => _writer ??= new MeteredWriter(inner.Writer, metering, context);

        public Task CompleteAsync() => inner.CompleteAsync();

        public void DisableBuffering() => inner.DisableBuffering();

        public Task StartAsync(CancellationToken cancellationToken = default) => inner.StartAsync(cancellationToken);

        public async Task SendFileAsync(string path, long offset, long? count, CancellationToken cancellationToken = default)
        {
            await inner.SendFileAsync(path, offset, count, cancellationToken);
            metering.AnswerBytes += count ?? (new FileInfo(path).Length - offset);
        }
    }

    private sealed class MeteredWriter(PipeWriter inner, RequestContext metering, HttpContext context) : PipeWriter
    {
        public override bool CanGetUnflushedBytes => inner.CanGetUnflushedBytes;

        public override long UnflushedBytes => inner.UnflushedBytes;

        public override void Advance(int bytes)
        {
            inner.Advance(bytes);
            metering.AnswerBytes += bytes;
        }

        public override Memory<byte> GetMemory(int sizeHint = 0) => inner.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => inner.GetSpan(sizeHint);

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default) =>
            UnreadAnswer.WatchAsync(context, inner.FlushAsync(cancellationToken));

        public override ValueTask<FlushResult> WriteAsync(ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default)
        {
            metering.AnswerBytes += source.Length;
            return UnreadAnswer.WatchAsync(context, inner.WriteAsync(source, cancellationToken));
        }

        public override void CancelPendingFlush() => inner.CancelPendingFlush();

        public override void Complete(Exception? exception = null) => inner.Complete(exception);

        public override ValueTask CompleteAsync(Exception? exception = null) => inner.CompleteAsync(exception);
    }
}
