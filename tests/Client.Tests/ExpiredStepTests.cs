using BnService.Client.Tests.Harness;

namespace BnService.Client.Tests;

/// <summary>A step that the service has no more is sent again by itself, and its update is made once.</summary>
public sealed class ExpiredStepTests : IDisposable
{
    private static readonly BackwardOptions Update = new() { Update = ParameterUpdate.Sgd(0.1, momentum: 0.9) };

    private readonly ManualTime _serviceTime = new();
    private readonly ClientOfService _client;
    private readonly Batch _x = Batch.Random(7, 16, 3), _dy = Batch.Random(8, 16, 3);

    public ExpiredStepTests() => _client = new ClientOfService(Service.At(_serviceTime), new FaultHandler());

    public void Dispose() => _client.Dispose();

    private Task ExpireAsync()
    {
        _serviceTime.AdvanceBy(TimeSpan.FromHours(1));
        return Task.CompletedTask;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_gradients_are_those_of_the_retained_step(bool updates)
    {
        var (layer, undisturbed) = (await _client.BatchNormAsync("a", 3), await _client.BatchNormAsync("b", 3));
        using var kept = await undisturbed.TrainStepAsync(_x.Data, _x.Shape);
        using var expected = await undisturbed.BackwardAsync(kept, _dy.Data, updates ? Update : null);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape);
        await ExpireAsync();
        using var gradients = await layer.BackwardAsync(step, _dy.Data, updates ? Update : null);
        Assert.Equal(expected.Dx.ToArray(), gradients.Dx.ToArray());
        Assert.Equal(expected.Dgamma, gradients.Dgamma);
        Assert.Equal(expected.Gamma, gradients.Gamma);
        Assert.Equal((expected.Version, false), (gradients.Version, gradients.FollowUpdate));
        Assert.Equal(await undisturbed.ExportStateAsync(), await layer.ExportStateAsync());
    }

    [Theory]
    [InlineData(Fault.LostAfter)]
    [InlineData(Fault.Truncated)]
    public async Task An_update_whose_answer_was_lost_with_the_step_is_not_made_again(Fault fault)
    {
        var (layer, undisturbed) = (await _client.BatchNormAsync("a", 3), await _client.BatchNormAsync("b", 3));
        using var kept = await undisturbed.TrainStepAsync(_x.Data, _x.Shape);
        using var expected = await undisturbed.BackwardAsync(kept, _dy.Data, Update);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape);
        _client.Faults.AfterLoss = ExpireAsync;
        _client.Faults.Next(fault);
        using var gradients = await layer.BackwardAsync(step, _dy.Data, Update with { IfMatch = 2 });
        Assert.True(gradients.FollowUpdate);
        Assert.Equal(expected.Gamma, gradients.Gamma);
        Assert.Equal(expected.Beta, gradients.Beta);
        Assert.Equal(expected.Dgamma, gradients.Dgamma);
        Assert.Equal(3, gradients.Version);
        Assert.Equal(await undisturbed.ExportStateAsync(), await layer.ExportStateAsync());
    }

    [Fact]
    public async Task The_update_through_x_is_made_once_as_well()
    {
        var layer = await _client.BatchNormAsync("a", 3);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape);
        await ExpireAsync();
        _client.Faults.Next(Fault.None, Fault.LostAfter, Fault.Truncated);
        using var gradients = await layer.BackwardAsync(step, _dy.Data, Update);
        Assert.Equal((3, false), (gradients.Version, gradients.FollowUpdate));
        Assert.Equal(3, (await layer.GetAsync()).Version);
    }

    [Fact]
    public async Task A_key_of_the_callers_that_has_named_something_else_is_refused_and_not_taken_for_the_update()
    {
        var layer = await _client.BatchNormAsync("a", 3);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape, new TrainStepOptions { IdempotencyKey = "mine" });
        var reused = await Assert.ThrowsAsync<BnServiceException>(() => layer.BackwardAsync(step, _dy.Data, Update with { IdempotencyKey = "mine" }));
        Assert.Equal(ProblemCodes.IdempotencyKeyReused, reused.Code);
    }
}
