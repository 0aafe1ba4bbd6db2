using BnService.Client.Wire;

namespace BnService.Client.Sending;

/// <summary>Train-step and backward of a session, alone or as a rank of several.</summary>
/// <param name="connection">Sends the calls.</param>
/// <param name="session">Name of the session.</param>
/// <param name="path">What the calls' paths begin with.</param>
/// <param name="query">What the calls' paths end with.</param>
/// <param name="isJoint">Whether the calls of several ranks are joined.</param>
internal sealed class LayerCalls(ServiceConnection connection, string session, string path, string query, bool isJoint)
{
    private readonly string _prefix = isJoint ? "sync " : "";

    /// <summary>Trains on a batch.</summary>
    public Task<TrainStep> TrainStepAsync(
        InputTensor x, IReadOnlyList<int> shape, Memory<float>? y, TrainStepOptions? options, CancellationToken cancellationToken)
    {
        options ??= TrainStepOptions.Default;
        var input = new StepInput(session, x, Checked(x, shape), options.Mask, options.Residual)
        {
            MaskShape = options.MaskShape,
            Gamma = options.Gamma,
            Beta = options.Beta,
        };
        RequireOutput(y, x.Length, "y", x.Singles, options.Residual);
        var message = MessageOf(input);
        if (!options.Retain) message.Add("retain", "false");
        var call = new ServiceCall($"{_prefix}train-step", HttpMethod.Post, $"{path}/train-step{query}")
        {
            Session = session,
            Key = KeyOf(options.IdempotencyKey) ?? ServiceCall.NewKey(),
            IfMatch = options.IfMatch,
        }.With(message);
        return connection.SendAsync(call, async (content, token) =>
            new TrainStep(await SafetensorsAnswer.ReadAsync(content, x.Length, y is null ? null : "y", y ?? default, token).ConfigureAwait(false), input), cancellationToken);
    }

    /// <summary>Takes a gradient back through a step: through what the service keeps of it, or else through x.</summary>
    public async Task<Gradients> BackwardAsync(
        TrainStep step, InputTensor dy, Memory<float>? dx, BackwardOptions? options, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(step);
        options ??= BackwardOptions.Default;
        var input = step.Input;
        if (input.Session != session) throw new ArgumentException($"the step is one of session '{input.Session}', not of '{session}'", nameof(step));
        RequireGradient(input, dy);
        RequireOutput(dx, dy.Length, "dx", dy.Singles, input.X.Singles, input.Residual);
        var key = KeyFor(options);
        if (step.StepId is null) return await ThroughInputAsync(input, BackwardMode.Train, dy, dx, options, key, cancellationToken).ConfigureAwait(false);
        BnServiceException expired;
        try
        {
            var message = new SafetensorsMessage().Add("step_id", step.StepId).Add("dy", dy, input.Shape);
            return await SendBackwardAsync(message, options, key, dy.Length, dx, cancellationToken).ConfigureAwait(false);
        }
        catch (BnServiceException exception) when (exception.Code == ProblemCodes.StepExpired)
        {
            expired = exception;
            connection.Logger.StepExpired(session, step.StepId);
        }
        try
        {
            // Under the same key: where an attempt before has made the update, it is refused now, and never made twice.
            return await ThroughInputAsync(input, BackwardMode.Train, dy, dx, options, key, cancellationToken).ConfigureAwait(false);
        }
        catch (BnServiceException exception) when (key is not null && exception.Code == ProblemCodes.IdempotencyKeyReused)
        {
            // The other ranks have their answers and do not come again.
            if (isJoint) throw expired;
        }
        connection.Logger.UpdateWasMade(session);
        var gradients = await ThroughInputAsync(input, BackwardMode.Train, dy, dx, BackwardOptions.Default, null, cancellationToken).ConfigureAwait(false);
        var now = await connection.SendAsync(new ServiceCall("stats", HttpMethod.Get, $"{path}/stats?include=gamma,beta") { Session = session },
            ClientJson.Default.SessionStats, cancellationToken).ConfigureAwait(false);
        (gradients.FollowUpdate, gradients.Gamma, gradients.Beta) = (true, now.Gamma, now.Beta);
        return gradients;
    }

    /// <summary>Takes a gradient back through an input of which the service has kept nothing.</summary>
    public Task<Gradients> BackwardAsync(InputTensor x, IReadOnlyList<int> shape, InputTensor dy, Memory<float>? dx,
        InputBackwardOptions? options, CancellationToken cancellationToken)
    {
        options ??= InputBackwardOptions.Default;
        var input = new StepInput(session, x, Checked(x, shape), options.Mask, options.Residual)
        {
            MaskShape = options.MaskShape,
            Gamma = options.Gamma,
            Beta = options.Beta,
        };
        RequireGradient(input, dy);
        RequireOutput(dx, dy.Length, "dx", dy.Singles, x.Singles, options.Residual);
        return ThroughInputAsync(input, options.Mode, dy, dx, options, KeyFor(options), cancellationToken);
    }

    /// <summary>The dimensions of values, checked.</summary>
    /// <exception cref="ArgumentException">They are those of another number of values.</exception>
    public static int[] Checked(InputTensor values, IReadOnlyList<int> shape, string name = "x")
    {
        ArgumentNullException.ThrowIfNull(shape);
        int[] dimensions = [.. shape];
        if (Array.Exists(dimensions, dimension => dimension < 0) || dimensions.Aggregate(1.0, (product, dimension) => product * dimension) != values.Length)
            throw new ArgumentException($"{name} has {values.Length} elements, its shape [{string.Join(", ", dimensions)}] others", nameof(shape));
        return dimensions;
    }

    /// <summary>Refuses memory for an output that it does not fit into, or that what is sent again may lie in.</summary>
    public static void RequireOutput(Memory<float>? output, int count, string name, params ReadOnlySpan<ReadOnlyMemory<float>> inputs)
    {
        if (output is not { } memory) return;
        if (memory.Length < count) throw new ArgumentException($"{name} must have room for {count} elements, got {memory.Length}", name);
        foreach (var input in inputs)
        {
            // An answer that is lost half-way would have overwritten what has to be sent again.
            if (memory.Span[..count].Overlaps(input.Span)) throw new ArgumentException($"{name} must not lie where the request does", name);
        }
    }

    /// <summary>A key as HTTP can carry it.</summary>
    public static string? KeyOf(string? key) => key is null || (key.Length is > 0 and <= 64 && key.All(c => c is > ' ' and < '\u007f'))
        ? key
        : throw new ArgumentException("IdempotencyKey must be 1 to 64 visible ASCII characters");

    private Task<Gradients> ThroughInputAsync(StepInput input, BackwardMode mode, InputTensor dy, Memory<float>? dx,
        BackwardOptions options, string? key, CancellationToken cancellationToken)
    {
        var message = MessageOf(input).Add("dy", dy, input.Shape);
        if (mode != BackwardMode.Train) message.Add("mode", ClientJson.Name(mode));
        return SendBackwardAsync(message, options, key, dy.Length, dx, cancellationToken);
    }

    private Task<Gradients> SendBackwardAsync(
        SafetensorsMessage message, BackwardOptions options, string? key, int count, Memory<float>? dx, CancellationToken cancellationToken)
    {
        if (options.Update is { } update) message.Add("update", ClientJson.Fields(update, ClientJson.Default.ParameterUpdate).ToJsonString());
        var call = new ServiceCall($"{_prefix}backward", HttpMethod.Post, $"{path}/backward{query}")
        {
            Session = session,
            Key = key,
            IfMatch = options.IfMatch,
        }.With(message);
        return connection.SendAsync(call, async (content, token) =>
            new Gradients(await SafetensorsAnswer.ReadAsync(content, count, dx is null ? null : "dx", dx ?? default, token).ConfigureAwait(false)), cancellationToken);
    }

    // What changes nothing may be made any number of times; ranks are counted.
    private string? KeyFor(BackwardOptions options) =>
        KeyOf(options.IdempotencyKey) ?? (options.Update is not null || isJoint ? ServiceCall.NewKey() : null);

    private static SafetensorsMessage MessageOf(StepInput input)
    {
        var message = new SafetensorsMessage().Add("x", input.X, input.Shape);
        message.AddMask(input.Mask, input.MaskShape).AddOwn(input.Gamma, input.Beta);
        if (!input.Residual.IsEmpty) message.Add("residual", input.Residual, input.Shape);
        if (!input.Residual.IsEmpty && input.Residual.Length != input.X.Length)
            throw new ArgumentException($"the residual must have the {input.X.Length} elements of x, got {input.Residual.Length}");
        return message;
    }

    private static void RequireGradient(StepInput input, InputTensor dy)
    {
        if (dy.Length != input.X.Length) throw new ArgumentException($"dy must have the {input.X.Length} elements of x, got {dy.Length}", nameof(dy));
    }
}
