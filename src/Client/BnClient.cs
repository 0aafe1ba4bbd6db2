using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using BnService.Client.Sending;
using BnService.Client.Wire;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace BnService.Client;

/// <summary>
/// A client of BnService: normalization layers as a web service. Make one and keep it; it may be used by any number of callers at a time.
/// Every call ends with <see cref="BnServiceException"/> where the service refuses it or cannot be reached, with <see cref="ArgumentException"/>
/// where it cannot be sent at all, and with <see cref="OperationCanceledException"/> where the caller gives it up.
/// </summary>
public sealed partial class BnClient
{
    /// <summary>Name of the <see cref="System.Diagnostics.ActivitySource"/> whose activities are the calls, each with all of its attempts.</summary>
    public const string ActivitySourceName = "BnService.Client";

    private readonly ServiceConnection _connection;

    /// <summary>A client with connections of its own.</summary>
    /// <param name="address">Address of the service, as <c>http://localhost:5000</c>.</param>
    /// <param name="apiKey">The API key, or null where the service asks for none.</param>
    public BnClient(Uri address, string? apiKey = null)
        : this(new BnClientOptions { Address = address ?? throw new ArgumentNullException(nameof(address)), ApiKey = apiKey })
    {
    }

    /// <summary>A client with connections of its own.</summary>
    /// <param name="options">Where the service is, who calls it, and how long a call is tried.</param>
    /// <param name="logger">Where repetitions and failures are told of; null for nowhere.</param>
    public BnClient(BnClientOptions options, ILogger<BnClient>? logger = null)
        : this(new HttpClient(NewHandler()) { Timeout = Timeout.InfiniteTimeSpan }, options, logger)
    {
    }

    /// <summary>A client with the connections of an HttpClient, as <see cref="IHttpClientFactory"/> makes them.</summary>
    /// <param name="http">The HttpClient, whose base address is used where the options have none; the caller's to dispose.</param>
    /// <param name="options">Who calls the service, and how long a call is tried; null for the defaults.</param>
    /// <param name="logger">Where repetitions and failures are told of; null for nowhere.</param>
    public BnClient(HttpClient http, BnClientOptions? options = null, ILogger<BnClient>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(http);
        // Tensors are sent as they lie in memory, and the wire is little-endian.
        if (!BitConverter.IsLittleEndian) throw new PlatformNotSupportedException("big-endian machines are not supported");
        _connection = new ServiceConnection(http, (options ?? new BnClientOptions()).Checked(), logger ?? NullLogger<BnClient>.Instance);
    }

    /// <summary>A session that is there, or will be; makes no call.</summary>
    /// <param name="name">Its name or id.</param>
    public LayerSession Session(string name) => new(_connection, CheckedName(name));

    /// <summary>Creates a session.</summary>
    /// <param name="name">Its name: 1 to 128 letters, digits, dots, underscores or hyphens, the first a letter or digit. Null for a name of the service's choice.</param>
    /// <param name="layer">The layer's options.</param>
    /// <param name="labels">Up to 64 labels.</param>
    /// <param name="convention">Whose convention the options are meant in; null for PyTorch's.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="BnServiceException">The name is taken (<see cref="ProblemCodes.SessionExists"/>), or an option is refused.</exception>
    public async Task<LayerSession> CreateSessionAsync(string? name, LayerOptions layer, IReadOnlyDictionary<string, string>? labels = null,
        Convention? convention = null, CancellationToken cancellationToken = default)
    {
        var fields = FieldsOf(layer, labels, convention);
        if (name is not null) fields["name"] = CheckedName(name);
        var call = new ServiceCall("create session", HttpMethod.Post, "v1/sessions")
        {
            Session = name,
            Body = ServiceCall.JsonBody(fields, ClientJson.Default.JsonObject),
            // A second session without a name would be another one, of which nobody knows.
            IsRepeatable = name is not null,
        };
        try
        {
            var created = await _connection.SendAsync(call, ClientJson.Default.SessionInfo, cancellationToken).ConfigureAwait(false);
            return new LayerSession(_connection, created.Name);
        }
        catch (BnServiceException exception) when (name is not null && exception.MayHaveHappened && exception.Code == ProblemCodes.SessionExists)
        {
            // The name may have been taken by an attempt of this call whose answer was lost.
            if (await IsWhatWasAskedForAsync(name, fields, cancellationToken).ConfigureAwait(false)) return new LayerSession(_connection, name);
            throw;
        }
    }

    /// <summary>
    /// The session of a name, which is created where there is none: for workers that start together, of which one creates it. Labels are
    /// those of whoever does.
    /// </summary>
    /// <param name="name">Its name: 1 to 128 letters, digits, dots, underscores or hyphens, the first a letter or digit.</param>
    /// <param name="layer">The layer's options, which are those of the session that is there.</param>
    /// <param name="labels">Up to 64 labels.</param>
    /// <param name="convention">Whose convention the options are meant in; null for PyTorch's.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <exception cref="BnServiceException">A session with other options is there (<see cref="ProblemCodes.SessionExists"/>), or an option is refused.</exception>
    public async Task<LayerSession> GetOrCreateSessionAsync(string name, LayerOptions layer, IReadOnlyDictionary<string, string>? labels = null,
        Convention? convention = null, CancellationToken cancellationToken = default)
    {
        var call = new ServiceCall("put session", HttpMethod.Put, $"v1/sessions/{CheckedName(name)}")
        {
            Session = name,
            Body = ServiceCall.JsonBody(FieldsOf(layer, labels, convention), ClientJson.Default.JsonObject),
        };
        var session = await _connection.SendAsync(call, ClientJson.Default.SessionInfo, cancellationToken).ConfigureAwait(false);
        return new LayerSession(_connection, session.Name);
    }

    /// <summary>
    /// Every session, newest first, in pages that are asked for as they are needed; without those whose stored header is damaged, on which
    /// every call fails (<see cref="ProblemCodes.StateDamaged"/>).
    /// </summary>
    /// <param name="prefix">What their names begin with; null for any.</param>
    /// <param name="kind">Their kind; null for any.</param>
    /// <param name="pageSize">How many are asked for at a time, 1 to 1,000.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public async IAsyncEnumerable<SessionInfo> ListSessionsAsync(
        string? prefix = null, LayerKind? kind = null, int pageSize = 100, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        string? cursor = null;
        do
        {
            var query = Query("prefix", prefix) + Query("kind", kind is { } asked ? ClientJson.Name(asked) : null) + Query("cursor", cursor);
            var call = new ServiceCall("list sessions", HttpMethod.Get, $"v1/sessions?limit={pageSize}{query}");
            var page = await _connection.SendAsync(call, ClientJson.Default.SessionPage, cancellationToken).ConfigureAwait(false);
            foreach (var session in page.Sessions) yield return session;
            cursor = page.NextCursor;
        }
        while (cursor is not null);
    }

    /// <summary>
    /// Puts a whole state, as <see cref="LayerSession.ExportStateAsync"/> or <c>safetensors.torch.save_file</c> has written it: creates the
    /// session where there is none.
    /// </summary>
    /// <param name="name">Name of the session.</param>
    /// <param name="safetensors">The file.</param>
    /// <param name="layer">Options of the layer where the file names none, as PyTorch's do; null for batch normalization with its defaults.</param>
    /// <param name="convention">Whose convention the options and the running variance are meant in; null for PyTorch's.</param>
    /// <param name="ifMatch">The version that the session must have; null for any, and for none.</param>
    /// <param name="from">Prefix of the layer's names in a whole model's file, <c>layer1.0.bn1.</c>; null where the file has one layer.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public async Task<LayerSession> ImportStateAsync(string name, ReadOnlyMemory<byte> safetensors, LayerOptions? layer = null, Convention? convention = null,
        long? ifMatch = null, string? from = null, CancellationToken cancellationToken = default)
    {
        var session = Session(name);
        await session.ImportStateAsync(safetensors, layer, convention, ifMatch, from, cancellationToken).ConfigureAwait(false);
        return session;
    }

    /// <summary>Normalizes a tensor with its own statistics, without a session.</summary>
    /// <param name="x">The input, row-major.</param>
    /// <param name="shape">Its dimensions, outermost first.</param>
    /// <param name="layer">The layer's options; those of running statistics do not belong here.</param>
    /// <param name="options">Parameters, mask, residual, and dy for the gradients too; null for none.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<NormalizedBatch> NormalizeAsync(
        ReadOnlyMemory<float> x, IReadOnlyList<int> shape, LayerOptions layer, NormalizeOptions? options = null, CancellationToken cancellationToken = default) =>
        NormalizeAsync((InputTensor)x, shape, layer, options, cancellationToken);

    private Task<NormalizedBatch> NormalizeAsync(
        InputTensor x, IReadOnlyList<int> shape, LayerOptions layer, NormalizeOptions? options, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(layer);
        var dimensions = LayerCalls.Checked(x, shape);
        var message = new SafetensorsMessage().Add(layer.ToJson()).Add("x", x, dimensions);
        options?.AddTo(message, dimensions);
        var call = new ServiceCall("normalize", HttpMethod.Post, "v1/normalize").With(message);
        return _connection.SendAsync(call, async (content, token) =>
            new NormalizedBatch(await SafetensorsAnswer.ReadAsync(content, x.Length, null, default, token).ConfigureAwait(false)), cancellationToken);
    }

    /// <summary>Normalizes a tensor of float64 once, without a session; in float64 with <see cref="LayerOptions.Precision"/>.</summary>
    /// <param name="x">The input.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="layer">How to normalize it.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<NormalizedBatch> NormalizeAsync(
        ReadOnlyMemory<double> x, IReadOnlyList<int> shape, LayerOptions layer, NormalizeOptions? options = null, CancellationToken cancellationToken = default) =>
        NormalizeAsync((InputTensor)x, shape, layer, options, cancellationToken);

    /// <summary>Waits, as long as calls are tried, until the service is ready.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task WaitUntilReadyAsync(CancellationToken cancellationToken = default) =>
        _connection.SendAsync(new ServiceCall("ready", HttpMethod.Get, "health/ready"), cancellationToken);

    /// <summary>Connections that are renewed now and then, so that a new address behind the service's name is found.</summary>
    internal static SocketsHttpHandler NewHandler() => new()
    {
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        ConnectTimeout = TimeSpan.FromSeconds(10),
        // How long a large body waits for the service to want it; a busy one is given its time.
        Expect100ContinueTimeout = TimeSpan.FromSeconds(5),
    };

    private static JsonObject FieldsOf(LayerOptions layer, IReadOnlyDictionary<string, string>? labels, Convention? convention)
    {
        ArgumentNullException.ThrowIfNull(layer);
        var fields = layer.ToJson();
        if (labels is not null) fields["labels"] = new JsonObject(labels.Select(label => KeyValuePair.Create(label.Key, (JsonNode?)label.Value)));
        if (convention is { } named) fields["convention"] = ClientJson.Name(named);
        return fields;
    }

    // What was sent is what is there, and nothing has happened to it since.
    private async Task<bool> IsWhatWasAskedForAsync(string name, JsonObject sent, CancellationToken cancellationToken)
    {
        var call = new ServiceCall("get session", HttpMethod.Get, $"v1/sessions/{name}") { Session = name };
        var there = await _connection.SendAsync(call, ClientJson.Default.JsonObject, cancellationToken).ConfigureAwait(false);
        if (there["version"]?.GetValue<long>() != 1) return false;
        var convention = sent["convention"];
        foreach (var (field, value) in sent)
        {
            // A convention gives momentum and eps other values; that it is the same one says as much.
            if (convention is not null && field is "momentum" or "eps" or "unbiased_running_var") continue;
            var stored = field == "convention" ? there[field]?["name"] : there[field];
            if (!JsonElement.DeepEquals(ToElement(value), ToElement(stored))) return false;
        }
        return true;
    }

    private static JsonElement ToElement(JsonNode? node) => JsonDocument.Parse(node?.ToJsonString() ?? "null").RootElement;

    /// <summary>A part of a query, where there is something to ask.</summary>
    internal static string Query(string name, string? value) => value is null ? "" : $"&{name}={Uri.EscapeDataString(value)}";

    private static string CheckedName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return SessionName.IsMatch(name) ? name
            : throw new ArgumentException("a session's name has 1 to 128 letters, digits, dots, underscores or hyphens, the first a letter or digit", nameof(name));
    }

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z")]
    private static partial Regex SessionName { get; }
}
