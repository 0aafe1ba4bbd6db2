using BnService.Api.Storage.Sqlite;
using Microsoft.Data.Sqlite;

namespace BnService.Api.Tests.Storage;

public sealed class SqliteWriterTests
{
    private const long Large = 1 << 20;

    private readonly List<string> _order = [];

    /// <summary>A small write waits for one large one at most, and shares the transaction of none.</summary>
    [Fact]
    public async Task Small_writes_come_before_the_large_ones_that_wait_and_those_take_turns_with_them()
    {
        var connection = new SqliteConnection("Data Source=:memory:");
        connection.Open();
        await using var writer = new SqliteWriter(connection, null, TimeProvider.System);
        using var isHeld = new SemaphoreSlim(0);
        using var release = new SemaphoreSlim(0);
        var held = WriteAsync(0, "held", () =>
        {
            isHeld.Release();
            release.Wait();
        });
        await isHeld.WaitAsync();
        var late = Task.CompletedTask;
        Task[] waiting =
        [
            WriteAsync(Large, "large 1", () => late = WriteAsync(0, "small, late", () => { })),
            WriteAsync(Large, "large 2", () => { }),
            WriteAsync(0, "small 1", () => { }), WriteAsync(0, "small 2", () => { }),
        ];
        release.Release();
        await held;
        await Task.WhenAll(waiting);
        await late;
        Assert.Equal(["held", "small 1", "small 2", "large 1", "small, late", "large 2"], _order);

        Task WriteAsync(long bytes, string name, Action action) => writer.WriteAsync(bytes, _ =>
        {
            _order.Add(name);
            action();
            return true;
        }).AsTask();
    }
}
