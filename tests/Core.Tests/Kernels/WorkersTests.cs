using System.Collections.Concurrent;
using BnService.Core.Kernels;

namespace BnService.Core.Tests.Kernels;

/// <summary>The threads that share the items of a computation.</summary>
public sealed class WorkersTests
{
    [Theory]
    [InlineData(0, 2)]
    [InlineData(1, 2)]
    [InlineData(2, 1)]
    [InlineData(2, 2)]
    [InlineData(7, 3)]
    [InlineData(1000, 2)]
    [InlineData(1000, 7)]
    [InlineData(1000, 200)]
    public void Every_item_runs_exactly_once(int items, int threads)
    {
        for (var round = 0; round < 50; round++)
        {
            var runs = new int[items];
            Workers.Run(new Counting(runs), items, threads, CancellationToken.None);
            Assert.All(runs, count => Assert.Equal(1, count));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_thread_alone_goes_through_the_items_in_order(bool isBackwards)
    {
        var order = new List<int>();
        Workers.Run(new Listing(order), 10, 1, CancellationToken.None, isBackwards);
        Assert.Equal(isBackwards ? Enumerable.Range(0, 10).Reverse() : Enumerable.Range(0, 10), order);
    }

    [Theory]
    [InlineData(false, 0, 5)]
    [InlineData(true, 4, 9)]
    public void Each_thread_begins_with_its_own_range_so_that_its_caches_keep_it(bool isBackwards, int firstOfCaller, int firstOfHelper)
    {
        // Nobody gets to a second item before both threads have begun, and then the rest is done by whoever is faster.
        using var both = new Barrier(2);
        var order = new ConcurrentQueue<(int Thread, int Item)>();
        Workers.Run(new Meeting(both, order), 10, 2, CancellationToken.None, isBackwards);
        var ofCaller = order.Where(entry => entry.Thread == Environment.CurrentManagedThreadId).Select(entry => entry.Item).ToArray();
        var ofHelper = order.Where(entry => entry.Thread != Environment.CurrentManagedThreadId).Select(entry => entry.Item).ToArray();
        Assert.Equal(firstOfCaller, ofCaller[0]);
        Assert.Equal(firstOfHelper, ofHelper[0]);
        Assert.Equal(Enumerable.Range(0, 10), order.Select(entry => entry.Item).Order());
    }

    [Fact]
    public void Helpers_do_take_items_from_a_caller_that_is_busy()
    {
        // The caller's first item ends only when another thread has run one.
        var others = new CountdownEvent(1);
        Workers.Run(new UntilAnotherThread(Environment.CurrentManagedThreadId, others), 64, 2, CancellationToken.None);
        Assert.True(others.IsSet);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    public void What_an_item_throws_reaches_the_caller_and_the_workers_live_on(int threads)
    {
        for (var round = 0; round < 20; round++)
        {
            var runs = new int[100];
            var thrown = Assert.Throws<InvalidOperationException>(
                () => Workers.Run(new Failing(runs, failing: 17), runs.Length, threads, CancellationToken.None));
            Assert.Equal("item 17", thrown.Message);
            Assert.All(runs, count => Assert.InRange(count, 0, 1));
        }
        Every_item_runs_exactly_once(100, threads);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    public void A_cancelled_computation_ends_between_two_items(int threads)
    {
        using var cancellation = new CancellationTokenSource();
        var runs = new int[10_000];
        Assert.Throws<OperationCanceledException>(
            () => Workers.Run(new Cancelling(runs, cancellation), runs.Length, threads, cancellation.Token));
        // Each thread may have been in an item when the first one cancelled.
        Assert.InRange(runs.Sum(), 1, Math.Max(threads, 1) + 1);
        Every_item_runs_exactly_once(100, threads);
    }

    [Fact]
    public async Task Many_callers_at_once_all_get_their_items_done()
    {
        var callers = Enumerable.Range(0, 40).Select(_ => Task.Run(() =>
        {
            for (var round = 0; round < 100; round++)
            {
                var runs = new int[31];
                Workers.Run(new Counting(runs), runs.Length, 4, CancellationToken.None);
                Assert.All(runs, count => Assert.Equal(1, count));
            }
        }));
        await Task.WhenAll(callers);
    }

    [Fact]
    public void A_computation_inside_a_computation_ends()
    {
        var runs = new int[16 * 16];
        Workers.Run(new Nested(runs), 16, 3, CancellationToken.None);
        Assert.All(runs, count => Assert.Equal(1, count));
    }

    private readonly struct Listing(List<int> order) : IWork
    {
        public void Run(int item) => order.Add(item);
    }

    private readonly struct Meeting(Barrier both, ConcurrentQueue<(int Thread, int Item)> order) : IWork
    {
        public void Run(int item)
        {
            var thread = Environment.CurrentManagedThreadId;
            var isFirst = order.All(entry => entry.Thread != thread);
            order.Enqueue((thread, item));
            if (isFirst) Assert.True(both.SignalAndWait(TimeSpan.FromSeconds(30)));
        }
    }

    private readonly struct Counting(int[] runs) : IWork
    {
        public void Run(int item) => Interlocked.Increment(ref runs[item]);
    }

    private readonly struct UntilAnotherThread(int caller, CountdownEvent others) : IWork
    {
        public void Run(int item)
        {
            if (Environment.CurrentManagedThreadId != caller)
            {
                if (!others.IsSet) others.Signal();
                return;
            }
            Assert.True(others.Wait(TimeSpan.FromMinutes(1)), "no other thread came to help");
        }
    }

    private readonly struct Failing(int[] runs, int failing) : IWork
    {
        public void Run(int item)
        {
            Interlocked.Increment(ref runs[item]);
            if (item == failing) throw new InvalidOperationException($"item {item}");
        }
    }

    private readonly struct Cancelling(int[] runs, CancellationTokenSource cancellation) : IWork
    {
        public void Run(int item)
        {
            Interlocked.Increment(ref runs[item]);
            cancellation.Cancel();
        }
    }

    private readonly struct Nested(int[] runs) : IWork
    {
        public void Run(int item) => Workers.Run(new Shifted(runs, item * 16), 16, 3, CancellationToken.None);
    }

    private readonly struct Shifted(int[] runs, int start) : IWork
    {
        public void Run(int item) => Interlocked.Increment(ref runs[start + item]);
    }
}
