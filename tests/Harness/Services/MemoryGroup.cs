namespace BnService.Harness;

/// <summary>A control group that holds a process to so much memory, as a container's; for root alone.</summary>
public sealed class MemoryGroup : IDisposable
{
    private const string First = "/sys/fs/cgroup/memory", Second = "/sys/fs/cgroup";

    private MemoryGroup(string path) => Path = path;

    public string Path { get; }

    /// <summary>How many processes the group's limit has ended.</summary>
    public long OutOfMemoryKills
    {
        get
        {
            var file = System.IO.Path.Combine(Path, Path.StartsWith(First, StringComparison.Ordinal) ? "memory.oom_control" : "memory.events");
            var line = File.ReadLines(file).FirstOrDefault(text => text.StartsWith("oom_kill ", StringComparison.Ordinal));
            return line is null ? 0 : long.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
        }
    }

    /// <summary>A group; null where this process may not make one.</summary>
    public static MemoryGroup? TryCreate(long bytes)
    {
        var isFirst = Directory.Exists(First);
        var path = System.IO.Path.Combine(isFirst ? First : Second, $"bn-test-{Environment.ProcessId}");
        try
        {
            Directory.CreateDirectory(path);
            File.WriteAllText(System.IO.Path.Combine(path, isFirst ? "memory.limit_in_bytes" : "memory.max"), $"{bytes}");
            return new MemoryGroup(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    public void Dispose()
    {
        try
        {
            Directory.Delete(Path);
        }
        catch (IOException)
        {
            // The process is not quite gone; an empty group costs nothing.
        }
    }
}
