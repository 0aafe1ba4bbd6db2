using System.Diagnostics.Metrics;
using System.Reflection;
using BnService.Api.Hosting.Connections;
using BnService.Api.Sessions;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>What the service holds at this moment: read when it is asked for, and at no other time.</summary>
internal sealed class ResourceMeter
{
    public ResourceMeter(
        ServiceMeter service, ResidentSessions resident, SessionCount count, RetainedSteps retained, StepWaits waits, MemoryBudget budget,
            IMemoryPoolFactory<byte> blocks,
        ConnectionPlaces places, IOptions<NodeOptions> node)
    {
        var meter = service.Meter;
        var version = typeof(ResourceMeter)
            .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];
        var info = new Measurement<int>(1, KeyValuePair.Create("version", (object?)version),
            KeyValuePair.Create("node", (object?)node.Value.Name));
        meter.CreateObservableGauge("bnservice.info", () => info, null, "1, with the version of the service and the name of the node.");
        meter.CreateObservableGauge("bnservice.sessions", () =>
            Known(count), "{session}", "Sessions that are stored, as counted at most some seconds ago.");
        meter.CreateObservableGauge("bnservice.sessions.resident", () => resident.Count, "{session}", "Sessions that are in memory.");
        meter.CreateObservableGauge("bnservice.sessions.resident.memory", () => resident.Bytes, "By", "Memory that sessions take.");
        meter.CreateObservableGauge("bnservice.retained.steps", () =>
            retained.Count, "{step}", "Train-steps whose activations are kept for backward.");
        meter.CreateObservableGauge("bnservice.retained.memory", () =>
            retained.Bytes, "By", "Memory of activations that are kept for backward.");
        meter.CreateObservableGauge("bnservice.sync.waiting", () =>
            waits.Count, "{call}", "Calls of ranks that wait for the others of their step.");
        meter.CreateObservableGauge("bnservice.tensor.memory", () =>
            ByState("rented", NativeBuffer.RentedBytes, "pooled", NativeBuffer.IdleBytes), "By",
            "Native memory of tensors: rented by calls and retained steps, or pooled for the next ones.");
        meter.CreateObservableGauge("bnservice.memory.budget", () => ByState("used", budget.Used, "limit", budget.Limit), "By",
            "Memory of requests in flight and of what they have left behind, and the most that it may be.");
        // The runtime's meter has these as counters, which they are not, or not before the first collection.
        meter.CreateObservableGauge("bnservice.gc.heap", () =>
            GC.GetTotalMemory(forceFullCollection: false), "By", "Managed memory in use.");
        meter.CreateObservableGauge("bnservice.threadpool.queue", () =>
            ThreadPool.PendingWorkItemCount, "{item}", "Work that waits for a thread of the pool.");
        meter.CreateObservableGauge("bnservice.threadpool.threads", () => ThreadPool.ThreadCount, "{thread}", "Threads of the pool.");
        meter.CreateObservableGauge("bnservice.connections", () => ByState("guest", places.Guests, "known", places.Known), "{connection}",
            "Connections that are open: known if a request on them was let in.");
        meter.CreateObservableGauge("bnservice.connections.limit", () =>
            places.Most, "{connection}", "The most connections (Limits:MaxConnections).");
        meter.CreateObservableCounter("bnservice.connections.accepted", () =>
            places.Accepted, "{connection}", "Connections that were accepted.");
        meter.CreateObservableCounter("bnservice.connections.closed", () => Closed(places), "{connection}",
            "Connections that the service closed: evicted for new ones or for their memory, refused because all others were at work, or " +
                "silent for too long.");
        if (blocks is PinnedBlockPoolFactory { Blocks: var pinned })
        {
            meter.CreateObservableGauge("bnservice.transport.memory", () =>
                ByState("rented", pinned.RentedBytes, "pooled", pinned.IdleBytes), "By",
                "Pinned blocks that bodies are received into and answers sent from: rented by connections, or pooled for the next ones.");
        }
    }

    private static IEnumerable<Measurement<long>> Known(SessionCount count) =>
        count.Known is { } number ? [new Measurement<long>(number)] : [];

    private static Measurement<long>[] Closed(ConnectionPlaces places) =>
        [Because("evicted", places.Evicted), Because("refused", places.Refused), Because("silent", places.TimedOut)];

    private static Measurement<long> Because(string reason, long count) => new(count, KeyValuePair.Create("reason", (object?)reason));

    private static Measurement<long>[] ByState(string first, long ofFirst, string second, long ofSecond) =>
        [new(ofFirst, KeyValuePair.Create("state", (object?)first)), new(ofSecond, KeyValuePair.Create("state", (object?)second))];
}
