using System.Text;
using System.Text.Json.Nodes;
using BnService.Api.Sessions;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Tests.Storage;

/// <summary>States that a service before this one has stored, which knew fewer options.</summary>
public sealed class StoredStatesTests
{
    [Fact]
    public void A_state_without_the_newer_options_means_what_it_meant()
    {
        var layer = LayerState.Create(new NormalizerOptions { NumFeatures = 2, Momentum = 0.25 });
        var now = DateTimeOffset.UnixEpoch;
        var convention = new AppliedConvention { Framework = Framework.Keras, IsOverBatch = true, CanTrack = true };
        var stored = SessionEncoding.Encode(new SessionRecord("id", "name", new Dictionary<string, string>(), now, now, layer) { Convention = convention });
        var header = JsonNode.Parse(Encoding.UTF8.GetString(stored.Header.Span))!;
        foreach (var option in (string[])["OmitsGamma", "GammaOffset", "ZeroDebias"]) Assert.True(header["Options"]!.AsObject().Remove(option), option);
        Assert.True(header.AsObject().Remove("StatisticsWeight"));
        var old = SessionEncoding.Decode(stored with { Header = Encoding.UTF8.GetBytes(header.ToJsonString()) });
        Assert.Equal(layer.Options, old.Layer.Options);
        Assert.Equal(layer.Gamma, old.Layer.Gamma);
        Assert.Null(old.Layer.Running!.Weight);
        Assert.Equal(["momentum", "eps", "unbiased_running_var"], old.Convention!.Converted().Select(option => option.Option));
    }
}
