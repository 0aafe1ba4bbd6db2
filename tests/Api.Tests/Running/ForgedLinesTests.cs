using System.Globalization;
using System.Text.Json;
using BnService.Api.Hosting;
using Serilog.Events;
using Serilog.Parsing;

namespace BnService.Api.Tests.Running;

/// <summary>What a client sends cannot look like an event of the log, nor move the cursor of a terminal, whoever logs it.</summary>
public sealed class ForgedLinesTests
{
    // Ends of lines, a terminal's sequences in both forms, deletion, and marks that turn the direction of what is behind them.
    private const string Forged = "a\n00:00:00.000 INF forged\r\u001b[2J\u009b31m\u007f\u0085\u2028\u2029\u202e\u2066\u200b\0\b";

    [Theory]
    [InlineData("text")]
    [InlineData("json")]
    public async Task A_path_writes_one_line_in_the_log_and_in_a_file_before_any_key(string format)
    {
        var file = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        using (var service = await ServiceProcess.StartAsync(("Telemetry__LogFormat", format), ("Auth__AdminKey", "bn_0123456789abcdef_" + new string('A', 43)),
            ("Serilog__MinimumLevel__Default", "Verbose"), ("Serilog__MinimumLevel__Override__Microsoft.AspNetCore", "Verbose"),
            ("Serilog__WriteTo__0__Name", "File"), ("Serilog__WriteTo__0__Args__path", file),
            ("Serilog__WriteTo__0__Args__outputTemplate", "{Message:lj} {Properties}{NewLine}")))
        {
            // A path has no zero.
            var name = Uri.EscapeDataString(Forged.Replace("\0", "", StringComparison.Ordinal));
            foreach (var path in (string[])[$"/v1/sessions/{name}", $"/v2/models/{name}/infer", $"/{name}", $"/v1/sessions?search={name}", $"/assets/{name}", $"/problems/{name}"])
            {
                using var connection = await service.ConnectAsync();
                await connection.WriteHeadAsync("POST", path, ("Connection", "close"), ("X-Api-Key", "bn_0123456789abcdef_x"), ("User-Agent", "a\u00c2\u009b31m"), ("traceparent", "x"));
                await connection.ReadToEndAsync();
            }
            await Eventually.EqualAsync(6, () => service.Output.Count(line => line.Contains(" bytes out", StringComparison.Ordinal)));
            service.Terminate();
            Assert.Equal(0, await service.ExitAsync());
            Assert.All(service.Output, line => Assert.True(IsPlain(line), $"{JsonSerializer.Serialize(line)} would be acted on"));
            Assert.DoesNotContain(service.Output, line => line.StartsWith("00:00:00.000", StringComparison.Ordinal));
            Assert.Contains(service.Output, line => line.Contains("forged", StringComparison.Ordinal));
            if (format == "json") Assert.All(service.Output, line => JsonDocument.Parse(line).Dispose());
        }
        var lines = (await File.ReadAllTextAsync(file)).Split('\n');
        File.Delete(file);
        Assert.Contains(lines, line => line.Contains("forged", StringComparison.Ordinal));
        Assert.All(lines, line => Assert.True(IsPlain(line) && !line.StartsWith("00:00:00.000", StringComparison.Ordinal), $"{JsonSerializer.Serialize(line)} would be acted on"));
    }

    [Fact]
    public void What_is_behind_an_events_line_is_its_exceptions_and_indented()
    {
        var text = new StringWriter(CultureInfo.InvariantCulture);
        var template = new MessageTemplateParser().Parse("Of {Value}");
        new TextEvents().Format(new LogEvent(DateTimeOffset.UnixEpoch, LogEventLevel.Error, new InvalidOperationException(Forged), template,
            [new LogEventProperty("Value", new ScalarValue(Forged)), new LogEventProperty("Session", new ScalarValue(Forged))]), text);
        var lines = text.ToString().TrimEnd('\n').Split('\n');
        Assert.All(lines, line => Assert.True(IsPlain(line), JsonSerializer.Serialize(line)));
        Assert.All(lines[1..], line => Assert.StartsWith("    ", line, StringComparison.Ordinal));
        const string Escaped = @"a\u000a00:00:00.000 INF forged\u000d\u001b[2J\u009b31m\u007f\u0085\u2028\u2029\u202e\u2066\u200b\u0000\u0008";
        Assert.EndsWith($"ERR Of {Escaped} session {Escaped}", lines[0], StringComparison.Ordinal);
        Assert.Contains(lines, line => line == "    00:00:00.000 INF forged");
    }

    [Fact]
    public async Task Nor_does_an_argument_or_a_setting_write_more_than_its_line()
    {
        foreach (var arguments in (string[][])[["\u001b[2J"], ["--Storage:Engine", "a\u001b[2J\u202e"], ["--a\u001b", "b"], ["keys", "revoke", "a\u001b", "--Storage:Engine", "memory"], ["keys", "create", "--name", "a\u009b", "--role", "x"]])
        {
            var (exitCode, output, errors) = await ServiceProcess.RunAsync(arguments);
            Assert.NotEqual(0, exitCode);
            Assert.All([.. errors.Split('\n'), .. output], line => Assert.True(IsPlain(line), JsonSerializer.Serialize(line)));
        }
    }

    private static bool IsPlain(string line) => !line.Any(character => char.IsControl(character) || char.GetUnicodeCategory(character)
        is UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}
