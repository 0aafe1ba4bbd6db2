namespace BnService.Harness;

/// <summary>The service with keys: an admin's, who was first, and those that a test asks for.</summary>
public sealed class KeyedService : IDisposable
{
    private KeyedService(Service service, string admin) => (Service, Admin) = (service, admin);

    public Service Service { get; }

    public ServiceClient Client => Service.Client;

    /// <summary>The first key.</summary>
    public string Admin { get; }

    public static Task<KeyedService> StartAsync(params (string Key, string Value)[] settings) => StartAsync(Service.With(settings));

    /// <summary>Behind a real server.</summary>
    public static Task<KeyedService> OnKestrelAsync(params (string Key, string Value)[] settings) => StartAsync(Service.OnKestrel(settings));

    /// <summary>A new key of a role.</summary>
    public Task<string> KeyAsync(string role, string? prefix = null) => CreateAsync(Client, role, prefix, Admin);

    public static async Task<string> CreateAsync(ServiceClient client, string role, string? prefix, string? by)
    {
        var body = $$"""{"name":"of-tests","role":"{{role}}"{{(prefix is null ? "" : $",\"prefix\":\"{prefix}\"")}}{{(by is null ? ",\"i_will_keep_the_key\":true" : "")}}}""";
        return (await client.PostAsync("/v1/keys", body, by is null ? [] : [Bearer(by)])).Expect(201)["key"].GetString()!;
    }

    /// <summary>The header of a key.</summary>
    public static (string Name, string Value) Bearer(string key) => ("Authorization", $"Bearer {key}");

    /// <summary>The part of a key that names it.</summary>
    public static string IdOf(string key) => key.Split('_')[1];

    public void Dispose() => Service.Dispose();

    private static async Task<KeyedService> StartAsync(Service service) => new(service, await CreateAsync(service.Client, "admin", null, null));
}
