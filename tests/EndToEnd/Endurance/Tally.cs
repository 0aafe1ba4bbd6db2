using System.Collections.Concurrent;

namespace BnService.EndToEnd.Endurance;

/// <summary>What clients have counted, to be held against what the service says that it has counted.</summary>
internal sealed class Tally
{
    private readonly ConcurrentDictionary<(string Method, string Call, int Status), long> _answers = new();
    private readonly ConcurrentDictionary<(string Method, string Call), long> _unanswered = new();
    private readonly ConcurrentDictionary<string, long> _elements = new(), _possibleElements = new();
    private readonly ConcurrentDictionary<string, long> _steps = new(), _possibleSteps = new();
    private long _replays;

    public long Answers => _answers.Values.Sum();

    public long Unanswered => _unanswered.Values.Sum();

    /// <summary>How many answers had each status.</summary>
    public SortedDictionary<int, long> Statuses => new(_answers.GroupBy(answer => answer.Key.Status).ToDictionary(group => group.Key, group => group.Sum(answer => answer.Value)));

    /// <summary>An answer has been read.</summary>
    public void Answered(Call call, int status) => Add(_answers, (call.Method, call.Template, status), 1);

    /// <summary>An answer is not to be counted yet.</summary>
    public void Unread(Call call, int status) => Add(_answers, (call.Method, call.Template, status), -1);

    /// <summary>A request has been begun whose answer nobody has waited for: the service may have seen it, or not.</summary>
    public void Abandoned(Call call) => Add(_unanswered, (call.Method, call.Template), 1);

    /// <summary>A pass has gone over so many elements; or may have, where the request was refused or abandoned.</summary>
    public void Passed(string operation, long elements, bool isCertain) => Add(isCertain ? _elements : _possibleElements, operation, elements);

    /// <summary>A train-step of a session was made; or may have been.</summary>
    public void Stepped(string session, bool isCertain = true) => Add(isCertain ? _steps : _possibleSteps, session, 1);

    public void Replayed() => Interlocked.Increment(ref _replays);

    /// <summary>Holds the service's counters against these: exactly, apart from what was abandoned.</summary>
    /// <returns>What does not fit.</returns>
    public List<string> Misfits(Exposition page)
    {
        var misfits = new List<string>();
        const string requests = "bnservice_http_requests_total";
        var counted = page.Families[requests].Samples.ToDictionary(sample => (sample.Labels["method"], sample.Labels["call"], int.Parse(sample.Labels["status"], System.Globalization.CultureInfo.InvariantCulture)), sample => (long)sample.Value);
        foreach (var group in counted.Keys.Union(_answers.Keys).GroupBy(key => (key.Item1, key.Item2)))
        {
            var abandoned = _unanswered.GetValueOrDefault(group.Key);
            foreach (var key in group)
            {
                var more = counted.GetValueOrDefault(key) - _answers.GetValueOrDefault(key);
                if (more < 0 || more > abandoned) misfits.Add($"{requests} {key}: {counted.GetValueOrDefault(key)}, {_answers.GetValueOrDefault(key)} answers were read and {abandoned} of the call abandoned");
                else abandoned -= more;
            }
        }
        foreach (var operation in _elements.Keys)
            Require($"bnservice_elements_total {operation}", page.Value("bnservice_elements_total", ("operation", operation)), _elements[operation], _possibleElements.GetValueOrDefault(operation));
        foreach (var session in _steps.Keys)
            Require($"bnservice_session_train_steps_total {session}", page.Value("bnservice_session_train_steps_total", ("session", session)), _steps[session], _possibleSteps.GetValueOrDefault(session));
        Require("bnservice_idempotent_replays_total", page.Value("bnservice_idempotent_replays_total"), _replays, 0);
        Require("nv_inference_request_success", page.Value("nv_inference_request_success"), _answers.GetValueOrDefault(("POST", Call.Infer.Template, 200)), 0);
        // Steps that wait together are one write: fewer writes than changes.
        var changes = (long)page.Value("bnservice_commit_group_changes_sum");
        if (changes < _steps.Values.Sum()) misfits.Add($"bnservice_commit_group_changes_sum: {changes}, {_steps.Values.Sum()} steps were answered");
        if (page.Value("bnservice_commits_total") is var commits && (commits > changes || commits == 0)) misfits.Add($"bnservice_commits_total: {commits}, with {changes} changes");
        foreach (var never in (string[])["bnservice_commit_failures_total", "bnservice_store_errors_total", "bnservice_commit_conflicts_total"])
            Require(never, page.Value(never), 0, 0);
        return misfits;

        void Require(string name, double value, long certain, long possible)
        {
            if (value < certain || value > certain + possible) misfits.Add($"{name}: {value}, clients have counted {certain}, and {possible} that may be");
        }
    }

    private static void Add<T>(ConcurrentDictionary<T, long> counts, T key, long count)
        where T : notnull => counts.AddOrUpdate(key, count, (_, before) => before + count);
}
