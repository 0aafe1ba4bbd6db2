using System.Net;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Connections;
using BnService.Api.Hosting.Limits;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Limits;

public sealed class ConnectionPlacesTests
{
    private readonly ManualTime _time = new();
    private readonly ConnectionPlaces _places;

    public ConnectionPlacesTests() =>
        _places = new(Options.Create(new LimitOptions { MaxConnections = 8 }), _time, NullLogger<ConnectionPlaces>.Instance);

    /// <summary>As it was, one stranger that asked for a probe again and again kept all silent connections after its own open.</summary>
    [Fact]
    public void A_silent_connection_ends_in_time_whatever_strangers_before_it_do()
    {
        var asking = Admit("192.0.2.1");
        var silent = Admit("192.0.2.2");
        for (var i = 0; i < 11; i++)
        {
            asking.Begin();
            asking.End();
            _time.AdvanceBy(TimeSpan.FromSeconds(1));
        }
        var late = Admit("192.0.2.3");
        _places.CloseSilent();
        Assert.Equal((1, 2), (_places.TimedOut, _places.Guests));
        Assert.Equal((true, false, true), (asking.Node.List is not null, silent.Node.List is not null, late.Node.List is not null));
    }

    [Theory]
    [InlineData("192.0.2.1", "::ffff:192.0.2.1", true)]
    [InlineData("192.0.2.1", "192.0.2.2", false)]
    [InlineData("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true)]
    [InlineData("2001:db8:1:2::1", "2001:db8:1:3::1", false)]
    public void An_address_is_one_caller_and_of_IPv6_the_network_that_one_is_given(string one, string other, bool isSame)
    {
        var (first, second) = (IPAddress.Parse(one), IPAddress.Parse(other));
        Assert.Equal(isSame, CallerNetwork.Of(first) == CallerNetwork.Of(second));
        if (isSame) Assert.Equal(WrongKeys.SlotOf(first), WrongKeys.SlotOf(second));
    }

    private ConnectionPlace Admit(string address) =>
        _places.Admit(new DefaultConnectionContext { RemoteEndPoint = new IPEndPoint(IPAddress.Parse(address), 1) })!;
}
