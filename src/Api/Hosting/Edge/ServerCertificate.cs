using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Edge;

/// <summary>
/// The certificate of https addresses. Files that have changed are read again within a minute, beside the connections, so that a
/// certificate can be renewed without a restart; where the new ones cannot be read, the old certificate goes on.
/// </summary>
internal sealed partial class ServerCertificate(IOptions<TlsOptions> options, ILogger<ServerCertificate> logger, TimeProvider time)
    : BackgroundService
{
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(30);

    private volatile SslStreamCertificateContext? _certificate;
    private (DateTime, DateTime) _writtenAt;

    /// <summary>Whether there is one.</summary>
    public bool IsConfigured => options.Value.CertificatePath is not null;

    /// <summary>The certificate of this moment, and those between it and a root, which clients are sent with it.</summary>
    public SslStreamCertificateContext? Current => _certificate;

    /// <summary>Reads it, so that a wrong file ends the start.</summary>
    /// <exception cref="StorageUnusableException">It cannot be read.</exception>
    public void Load()
    {
        try
        {
            (_writtenAt, _certificate) = (WrittenAt(), Read());
        }
        catch (Exception exception) when (IsUnreadable(exception))
        {
            throw new StorageUnusableException(
                $"Tls:CertificatePath '{options.Value.CertificatePath}' cannot be used: {exception.Message}");
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!IsConfigured) return;
        using var timer = new PeriodicTimer(BetweenLooks, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                var writtenAt = WrittenAt();
                if (writtenAt == _writtenAt) continue;
                // The old one may still serve a connection that is being made: it is left to the collector.
                (_certificate, _writtenAt) = (Read(), writtenAt);
                LogRenewed(logger, options.Value.CertificatePath!, _certificate.TargetCertificate.NotAfter);
            }
            catch (Exception exception) when (IsUnreadable(exception))
            {
                LogUnreadable(logger, options.Value.CertificatePath!, exception.Message);
            }
        }
    }

    private static bool IsUnreadable(Exception exception) =>
        exception is CryptographicException or IOException or UnauthorizedAccessException;

    private (DateTime, DateTime) WrittenAt() =>
        (File.GetLastWriteTimeUtc(options.Value.CertificatePath!), options.Value.KeyPath is { } key ? File.GetLastWriteTimeUtc(key)
            : default);

    private SslStreamCertificateContext Read()
    {
        var (path, key, password) = (options.Value.CertificatePath!, options.Value.KeyPath, options.Value.Password);
        var all = new X509Certificate2Collection();
        X509Certificate2 own;
        if (File.ReadAllText(path).Contains("-----BEGIN", StringComparison.Ordinal))
        {
            own = password is null ? X509Certificate2.CreateFromPemFile(path, key)
                : X509Certificate2.CreateFromEncryptedPemFile(path, password, key);
            all.ImportFromPemFile(path);
        }
        else
        {
            all = X509CertificateLoader.LoadPkcs12CollectionFromFile(path, password);
            own = all.FirstOrDefault(certificate => certificate.HasPrivateKey)
                ?? throw new CryptographicException("it holds no private key");
        }
        // What is sent is what the file has: nothing is fetched from elsewhere.
        return SslStreamCertificateContext.Create(own, [.. all.Where(certificate => certificate.Thumbprint != own.Thumbprint)],
            offline: true);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The certificate in {File} has been renewed, until {NotAfter:u}")]
    private static partial void LogRenewed(ILogger logger, string file, DateTime notAfter);

    [LoggerMessage(Level = LogLevel.Error, Message = "The new certificate in {File} cannot be read, the old one goes on: {Cause}")]
    private static partial void LogUnreadable(ILogger logger, string file, string cause);
}
