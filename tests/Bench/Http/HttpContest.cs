using System.Diagnostics;
using System.Net.Sockets;
using BnService.Bench.Cases;
using BnService.Bench.Contenders;
using BnService.Bench.Http.Servers;
using BnService.Bench.Timing;
using static BnService.Bench.Http.HttpNames;

namespace BnService.Bench.Http;

/// <summary>Brings the servers together for each case: whoever gives a wrong answer is named and not timed.</summary>
/// <param name="servers">Who takes part.</param>
/// <param name="rounds">How many times each gets its turn.</param>
/// <param name="turn">How long a turn is.</param>
internal sealed class HttpContest(ServerSet servers, int rounds, TimeSpan turn)
{
    /// <summary>Measures one case.</summary>
    /// <param name="httpCase">The case.</param>
    /// <param name="most">How long it may take.</param>
    public HttpCell Measure(HttpCase httpCase, TimeSpan most)
    {
        var start = Stopwatch.GetTimestamp();
        var cell = new HttpCell(httpCase);
        var (payload, contenders) = Gather(cell);
        var (machine, serversBefore) = (new Machine(), servers.Seconds);
        cell.Run(contenders, rounds, turn, most - Stopwatch.GetElapsedTime(start));
        cell.Disturbance = machine.Disturbance(servers.Seconds - serversBefore);
        foreach (var contender in contenders.OfType<IDisposable>()) contender.Dispose();
        payload.Dispose();
        return cell;
    }

    // Everyone is asked once and his answer checked; the reference is not needed after that.
    private (Payload Payload, List<Contender> Contenders) Gather(HttpCell cell)
    {
        var httpCase = cell.Case;
        using var data = new CaseData(httpCase.Tensor);
        var checks = new AnswerChecks(data);
        var payload = httpCase.IsJson ? Payload.OfJson(data) : Payload.OfFloats(data);
        var contenders = new List<Contender>();
        if (httpCase.IsJson) GatherJson();
        else GatherBinary();
        return (payload, contenders);

        void GatherBinary()
        {
            var echo = NumPy("/echo");
            Add(Inference, servers.Service, NumPy(BenchSessions.InferencePath), checks.NumPy(Operation.Inference));
            Add(OwnEcho, servers.OwnEcho, echo, AnswerChecks.Echo(echo, payload));
            Add(OpenInference, servers.Service, HttpRequest.OpenInference(httpCase.Rows), checks.OpenInference());
            Add(DefaultEcho, servers.DefaultEcho, echo, AnswerChecks.Echo(echo, payload));
            Add(RawEcho, servers.RawEcho, echo, AnswerChecks.Echo(echo, payload));
            Add(TorchInference, servers.FastApi, NumPy("/inference"), checks.NumPy(Operation.Inference, isPeer: true));
            if (!httpCase.CanTrain) return;
            Add(TrainStep, servers.Service, NumPy(BenchSessions.TrainStepPath), checks.NumPy(Operation.Train));
            Add(TorchTrainStep, servers.FastApi, NumPy("/train-step"), checks.NumPy(Operation.Train, isPeer: true));
        }

        void GatherJson()
        {
            Add(Inference, servers.Service, HttpRequest.Json(BenchSessions.InferencePath, payload), checks.Json());
            Add(Binding, servers.Binding, HttpRequest.Json("/json", payload), checks.Json(isPeer: true));
            Add(TorchInference, servers.FastApi, HttpRequest.Json("/json", payload), checks.Json(isPeer: true));
            if (!PeerFiles.HasSimdJson) return;
            if (SimdJsonReading.Of(payload, data) is { } reading) contenders.Add(reading);
            else cell.Reject(SimdJson, "reads something else than x");
        }

        HttpRequest NumPy(string path) => HttpRequest.NumPy(path, httpCase.Rows);

        void Add(string name, ServerProcess? server, HttpRequest request, AnswerCheck check)
        {
            if (server is null) return;
            try
            {
                var contender = new HttpContender(name, server, request, payload, httpCase.Connections);
                if (contender.Introduce(check) is not { } flaw)
                {
                    contenders.Add(contender);
                    return;
                }
                cell.Reject(name, flaw);
                contender.Dispose();
            }
            catch (SocketException exception)
            {
                cell.Reject(name, $"is gone: {exception.Message}");
            }
        }
    }
}
