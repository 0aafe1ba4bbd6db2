namespace BnService.Experiments.Tests;

internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("bn-experiments").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
