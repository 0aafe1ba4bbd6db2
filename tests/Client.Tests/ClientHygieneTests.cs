using System.Collections.Concurrent;
using System.Diagnostics;
using BnService.Client.Tests.Harness;
using BnService.Client.Wire;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Client.Tests;

/// <summary>What the client leaves behind: traces that lead to the service's, logs without secrets, one line of registration, no copies.</summary>
public sealed class ClientHygieneTests
{
    private const string Secret = "bn_0000000000_not-a-key-of-anybody-but-long-enough-to-be-found";

    private readonly Batch _x = Batch.Random(7, 16, 3);

    [Fact]
    public async Task The_key_is_in_one_header_and_in_no_log_exception_or_activity()
    {
        var (log, activities) = (new LogLines<BnClient>(), new ConcurrentQueue<Activity>());
        using var listener = Listen(activities);
        using var client = new ClientOfService(new Service(), new FaultHandler(Fault.LostAfter, Fault.Unavailable), options => options.ApiKey = Secret, log);
        var failures = new List<Exception>();
        foreach (var call in new Func<Task>[]
        {
            () => client.BatchNormAsync("a", 3),
            () => client.Client.Session("nobody").StatsAsync(),
            () => client.BatchNormAsync("a", 4),
        })
        {
            if (await Record.ExceptionAsync(call) is { } failure) failures.Add(failure);
        }
        Assert.All(client.Faults.Requests, request => Assert.Equal($"Bearer {Secret}", request.Authorization));
        Assert.Equal(2, failures.Count);
        Assert.True(log.Lines.Count >= 4, string.Join('\n', log.Lines));
        var texts = log.Lines.Concat(failures.Select(failure => failure.ToString()))
            .Concat(activities.SelectMany(activity => activity.TagObjects.Select(tag => $"{tag.Value}").Append(activity.DisplayName).Append(activity.StatusDescription ?? "")));
        Assert.DoesNotContain(texts, text => text.Contains(Secret, StringComparison.Ordinal));
        var refused = Assert.Throws<ArgumentException>(() => new BnClient(new Uri("http://localhost"), "with\nline"));
        Assert.DoesNotContain("with", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_call_is_an_activity_and_the_services_trace_is_the_callers()
    {
        var activities = new ConcurrentQueue<Activity>();
        using var listener = Listen(activities);
        using var service = Service.OnKestrel();
        using var parent = new Activity("caller").Start();
        var client = new BnClient(service.Address);
        var failure = await Assert.ThrowsAsync<BnServiceException>(() => client.Session("nobody-of-this-test").StatsAsync());
        Assert.Equal(parent.TraceId.ToHexString(), failure.TraceId);
        var activity = Assert.Single(activities, activity => "nobody-of-this-test".Equals(activity.GetTagItem("bnservice.session")));
        Assert.Equal((parent.SpanId, ActivityStatusCode.Error, "session-not-found"), (activity.ParentSpanId, activity.Status, activity.StatusDescription));
        Assert.Equal(1, activity.GetTagItem("bnservice.attempts"));
    }

    [Fact]
    public async Task One_line_registers_it_and_the_rest_of_the_factory_is_there()
    {
        using var service = Service.OnKestrel();
        var faults = new FaultHandler(Fault.LostAfter);
        var services = new ServiceCollection();
        services.AddBnClient(options => options.Address = service.Address).AddHttpMessageHandler(() => faults);
        await using var provider = services.BuildServiceProvider();
        var layer = await provider.GetRequiredService<BnClient>().CreateSessionAsync("registered", new BatchNormOptions { NumFeatures = 3 });
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape);
        Assert.Equal(1, step.NumBatchesTracked);
        Assert.Equal(4, faults.Requests.Count);
        Assert.NotSame(provider.GetRequiredService<BnClient>(), provider.GetRequiredService<BnClient>());
    }

    [Fact]
    public async Task Tensors_are_sent_from_where_they_lie()
    {
        using var content = new SafetensorsMessage().Add("x", _x.Data, _x.Shape).ToContent();
        var stream = new WatchedStream();
        await content.CopyToAsync(stream);
        Assert.Contains(stream.Written, piece => piece.Span.Overlaps(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(_x.Data)) && piece.Length == 4 * _x.Data.Length);
        Assert.Equal(stream.Written.Sum(piece => piece.Length), content.Headers.ContentLength);
    }

    [Fact]
    public async Task A_real_connection_carries_a_tensor_of_many_pieces_both_ways()
    {
        using var service = Service.OnKestrel();
        var layer = await new BnClient(service.Address).CreateSessionAsync("large", new BatchNormOptions { NumFeatures = 64 });
        var x = Batch.Random(1, 8192, 64);
        using var step = await layer.TrainStepAsync(x.Data, x.Shape);
        using var inferred = await layer.InferAsync(x.Data, x.Shape);
        var stats = await layer.StatsAsync();
        for (var i = 0; i < x.Data.Length; i += 997)
        {
            var expected = (x.Data[i] - stats.RunningMean![i % 64]) / Math.Sqrt(stats.RunningVar![i % 64] + 1e-5);
            Assert.Equal(expected, inferred.Y.Span[i], 1e-5);
            Assert.Equal((x.Data[i] - step.BatchMean![i % 64]) / Math.Sqrt(step.BatchVar[i % 64] + 1e-5), step.Y.Span[i], 1e-5);
        }
    }

    [Theory]
    [InlineData("ftp://localhost")]
    [InlineData("http://user:secret@localhost")]
    public void Options_that_cannot_be_meant_are_refused(string address)
    {
        var refused = Assert.Throws<ArgumentException>(() => new BnClient(new Uri(address)));
        Assert.DoesNotContain("secret", refused.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new BnClient(new HttpClient()));
        Assert.Throws<ArgumentException>(() => new BnClient(new Uri("http://localhost")).Session("../keys"));
    }

    private static ActivityListener Listen(ConcurrentQueue<Activity> activities)
    {
        var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == BnClient.ActivitySourceName,
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = activities.Enqueue, // of other tests as well, which run at the same time
        };
        ActivitySource.AddActivityListener(listener);
        return listener;
    }

    private sealed class WatchedStream : MemoryStream
    {
        public List<ReadOnlyMemory<byte>> Written { get; } = [];

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Written.Add(buffer);
            return ValueTask.CompletedTask;
        }

        public override void Write(ReadOnlySpan<byte> buffer) => throw new NotSupportedException("waits for the disk");
    }
}
