using BnService.Api.Storage;
using BnService.Api.Storage.Memory;

namespace BnService.Api.Tests.Storage;

public sealed class MemorySessionStoreTests : SessionStoreContract
{
    protected override ISessionStore Store { get; } = new MemorySessionStore(1L << 30);
}

public sealed class MemoryKeyStoreTests : KeyStoreContract
{
    protected override IKeyStore Keys { get; } = new MemoryKeyStore();
}

public sealed class MemoryContributionsTests : ContributionsContract
{
    internal override IContributions Contributions { get; } = new MemoryContributions(TimeProvider.System);
}
