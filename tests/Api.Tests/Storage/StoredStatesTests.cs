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
        Assert.True(header.AsObject().Remove("Sums"));
        var old = SessionEncoding.Decode(stored with { Header = Encoding.UTF8.GetBytes(header.ToJsonString()) });
        Assert.Equal(layer.Options, old.Layer.Options);
        Assert.Equal(layer.Gamma, old.Layer.Gamma);
        Assert.Null(old.Layer.Running!.Weight);
        Assert.Equal(["momentum", "eps", "unbiased_running_var"], old.Convention!.Converted().Select(option => option.Option));
    }

    [Fact]
    public void No_flipped_bit_is_served()
    {
        var session = Session(LayerState.Create(new NormalizerOptions { NumFeatures = 2 }).WithRunningStatistics([1, 2], [3, 4], 5));
        var stored = SessionEncoding.Encode(session);
        foreach (var part in (ReadOnlyMemory<byte>[])[stored.Header, stored.State])
        {
            for (var bit = 0; bit < 8 * part.Length; bit++)
            {
                var flipped = part.ToArray();
                flipped[bit / 8] ^= (byte)(1 << (bit % 8));
                var damaged = part.Equals(stored.Header) ? stored with { Header = flipped } : stored with { State = flipped };
                try
                {
                    // The name of the checksums' member alone is not under them: what it stands beside is as it was.
                    var read = SessionEncoding.Encode(SessionEncoding.Decode(damaged));
                    Assert.True(part.Equals(stored.Header) && bit / 8 >= part.Length - 42, $"bit {bit} is served");
                    Assert.True(read.Header.Span.SequenceEqual(stored.Header.Span) && read.State.Span.SequenceEqual(stored.State.Span));
                }
                catch (DamagedStateException)
                {
                    // Refused.
                }
            }
        }
    }

    [Fact]
    public void A_row_of_another_session_or_version_is_refused()
    {
        var stored = SessionEncoding.Encode(Session(LayerState.Create(new NormalizerOptions { NumFeatures = 2 })));
        SessionEncoding.Decode(stored);
        foreach (var other in new[] { stored with { Id = "ie" }, stored with { Name = "namf" }, stored with { Version = 2 }, stored with { CreatedAt = stored.CreatedAt.AddTicks(1) } })
        {
            Assert.Throws<DamagedStateException>(() => SessionEncoding.Decode(other));
            Assert.Equal(Damage.Header, SessionEncoding.Summary(other).Damage);
        }
    }

    [Fact]
    public void An_answer_with_a_flipped_bit_is_refused_and_one_of_the_version_before_is_read()
    {
        var answer = new StoredReplay(7, 3) { Key = new AnswerKey("", "k", "f"), Arrays = new Dictionary<string, double[]> { ["mean"] = [1, 2] } };
        var stored = answer.Encode();
        for (var bit = 0; bit < 8 * (stored.Content.Length - 16); bit++)
        {
            var flipped = stored.Content.ToArray();
            flipped[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.Throws<DamagedStateException>(() => StoredReplay.Decode(stored with { Content = flipped }));
        }
        foreach (var content in new[] { stored.Content, stored.Content[..^16] })
            Assert.Equal(7, StoredReplay.Decode(stored with { Content = content }).Version);
    }

    private static SessionRecord Session(LayerState layer) =>
        new("id", "name", new Dictionary<string, string>(), DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch, layer);
}
