using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Edge;

/// <summary>
/// The certificate of https addresses. Files that have changed are read again within a minute, so that a certificate can be renewed
/// without a restart; where the new ones cannot be read, the old certificate goes on.
/// </summary>
internal sealed partial class ServerCertificate(IOptions<TlsOptions> options, ILogger<ServerCertificate> logger, TimeProvider time) : IDisposable
{
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private X509Certificate2? _certificate;
    private DateTime _writtenAt;
    private long _lookedAt;

    /// <summary>Whether there is one.</summary>
    public bool IsConfigured => options.Value.CertificatePath is not null;

    /// <summary>Reads it, so that a wrong file ends the start.</summary>
    /// <exception cref="StorageUnusableException">It cannot be read.</exception>
    public void Load()
    {
        try
        {
            (_certificate, _writtenAt, _lookedAt) = (Read(), WrittenAt(), time.GetTimestamp());
        }
        catch (Exception exception) when (exception is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new StorageUnusableException($"Tls:CertificatePath '{options.Value.CertificatePath}' cannot be used: {exception.Message}");
        }
    }

    /// <summary>The certificate of this moment.</summary>
    public X509Certificate2? Current()
    {
        lock (_lock)
        {
            if (_certificate is null || time.GetElapsedTime(_lookedAt) < BetweenLooks) return _certificate;
            _lookedAt = time.GetTimestamp();
            try
            {
                var writtenAt = WrittenAt();
                // The old one may still serve a connection that is being made: it is left to the collector.
                if (writtenAt != _writtenAt) (_certificate, _writtenAt) = (Read(), writtenAt);
            }
            catch (Exception exception) when (exception is CryptographicException or IOException or UnauthorizedAccessException)
            {
                LogUnreadable(logger, options.Value.CertificatePath!, exception.Message);
            }
            return _certificate;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _certificate?.Dispose();

    private DateTime WrittenAt() => File.GetLastWriteTimeUtc(options.Value.CertificatePath!);

    private X509Certificate2 Read()
    {
        var (path, key, password) = (options.Value.CertificatePath!, options.Value.KeyPath, options.Value.Password);
        if (!File.ReadAllText(path).Contains("-----BEGIN", StringComparison.Ordinal)) return X509CertificateLoader.LoadPkcs12FromFile(path, password);
        return password is null ? X509Certificate2.CreateFromPemFile(path, key) : X509Certificate2.CreateFromEncryptedPemFile(path, password, key);
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The new certificate in {File} cannot be read, the old one goes on: {Cause}")]
    private static partial void LogUnreadable(ILogger logger, string file, string cause);
}
