using System.Globalization;
using System.Text;
using System.Text.Json;
using BnService.Dashboard.Tests.Harness;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests;

/// <summary>A tensor of the user's own, in each form that there is.</summary>
[Collection(BrowserTests.Name)]
public sealed class TryItTests(Browser browser, SharedService shared) : IClassFixture<SharedService>
{
    // Three samples of two channels: their means are 2 and 20.
    private static readonly double[] Rows = [1, 10, 2, 20, 3, 30];

    public static TheoryData<string, byte[]> Files => new()
    {
        { "batch.npy", Npy("<f4", fortran: false, Rows.SelectMany(value => BitConverter.GetBytes((float)value))) },
        { "double.npy", Npy("<f8", fortran: false, Rows.SelectMany(BitConverter.GetBytes)) },
        { "half.npy", Npy("<f2", fortran: false, Rows.SelectMany(value => BitConverter.GetBytes((Half)value))) },
        { "fortran.npy", Npy("<f4", fortran: true, new float[] { 1, 2, 3, 10, 20, 30 }.SelectMany(BitConverter.GetBytes)) },
        { "batch.safetensors", Safetensors("x", "F32", Rows.SelectMany(value => BitConverter.GetBytes((float)value))) },
        { "brain.safetensors", Safetensors("x", "BF16", Rows.SelectMany(value => BitConverter.GetBytes((float)value).Skip(2))) },
        { "other.safetensors", Safetensors("images", "F16", Rows.SelectMany(value => BitConverter.GetBytes((Half)value))) },
        { "batch.csv", "a,b\n1,10\n2,20\n3,30\n"u8.ToArray() },
        { "semicolons.csv", "\"one\";\"two\"\r\n1;10\r\n2;20\r\n3;30\r\n"u8.ToArray() },
        { "flat.json", """{"shape":[3,2],"data":[1,10,2,20,3,30]}"""u8.ToArray() },
        { "nested.json", """{"x":[[1,10],[2,20],[3,30]]}"""u8.ToArray() },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_file_of_each_form_is_trained_on_shown_and_copied_as_a_call(string name, byte[] content)
    {
        var service = shared.Service;
        var session = await service.Client.CreateAsync("""{"num_features":2}""");
        await using var window = await OpenAsync(session.Name);
        await window.Page.SetInputFilesAsync("#file", new FilePayload { Name = name, MimeType = "", Buffer = content });
        await window.SeesAsync("shape [3, 2]");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Run a train-step" }).ClickAsync();
        await window.SeesAsync("Train-step 1: normalized with the statistics of this batch, 3 values each");
        // 0.9 · 0 + 0.1 · mean
        var mean = (await session.StatsAsync())["running_mean"].EnumerateArray().Select(value => value.GetDouble()).ToArray();
        Assert.Equal(0.2, mean[0], 1e-6);
        Assert.Equal(2, mean[1], 1e-6);
        await SeesSpreadAsync(window, "channel 1 before: 3 values from 10 to 30, mean 20, standard deviation 8.165");
        await SeesSpreadAsync(window, "channel 1 after: 3 values from −1.225 to 1.225, mean ");
        if (name == "batch.csv") await window.RequireSoundAsync();
        Assert.Empty(window.Complaints);

        // What is copied does the same, as often as it is run.
        var folder = Directory.CreateTempSubdirectory("bn-copied").FullName;
        await File.WriteAllBytesAsync(Path.Combine(folder, name), content);
        var step = 1;
        foreach (var (language, program) in ((string, string)[])[("curl", "bash"), ("Python", "python3")])
        {
            using var answer = JsonDocument.Parse((await Shell.RunAsync(program, folder, "-c", await CopyAsync(window, language))).Replace('\'', '"').Replace("None", "null", StringComparison.Ordinal));
            Assert.Equal(++step, answer.RootElement.GetProperty("num_batches_tracked").GetInt32());
            Assert.Equal(new double[] { 2, 20 }, answer.RootElement.GetProperty("batch_mean").EnumerateArray().Select(value => value.GetDouble()));
        }
        var csharp = await CopyAsync(window, "C#");
        Assert.Contains($"{session.Path}/train-step", csharp, StringComparison.Ordinal);
        Assert.Contains(csharp.Contains("ReadAllBytes", StringComparison.Ordinal) ? $"ReadAllBytes(\"{name}\")" : """{"x":{"shape":[3,2],"data":[1,10,2,20,3,30]},"retain":false}""", csharp, StringComparison.Ordinal);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task A_tensor_that_is_pasted_is_inferred_and_images_are_shown_by_their_channels()
    {
        var service = shared.Service;
        var session = await service.Client.CreateAsync("""{"num_features":2}""");
        await using var window = await OpenAsync(session.Name);
        await window.Page.GetByLabel("Paste a tensor").FillAsync("[[[[1,2],[3,4]],[[5,6],[7,8]]]]");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Run inference" }).ClickAsync();
        await window.SeesAsync("normalized with the running statistics of version 1; nothing has changed");
        await SeesSpreadAsync(window, "channel 0 before: 4 values from 1 to 4, mean 2.5");
        await SeesSpreadAsync(window, "channel 1 after: 4 values from 5 to 8, mean 6.5");
        await window.Page.GetByLabel("Paste a tensor").FillAsync("1, 2\nNaN, 4\n");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Run inference" }).ClickAsync();
        await SeesSpreadAsync(window, "channel 0 before: 1 values from 1 to 1");
        Assert.Equal("1", (await session.GetAsync()).ETag?.Trim('"'));
    }

    [Theory]
    [InlineData("", "paste a tensor, or drop a file, first")]
    [InlineData("[[1,2],[3]]", "the nested arrays are ragged")]
    [InlineData("[[1,2],[3,", "this is no JSON")]
    [InlineData("""{"shape":[2,2],"data":[1,2,3]}""", "shape [2, 2] has 4 elements, data has 3")]
    [InlineData("1,2\n3,4,5", "line 2 has 3 columns, the first row has 2")]
    [InlineData("1,2\n3,<b>", "line 2, column 2: '<b>' is no number")]
    [InlineData("1,2,3\n4,5,6", "2 channels")]
    public async Task What_cannot_be_sent_or_is_refused_says_why(string text, string reason)
    {
        var service = shared.Service;
        var session = await service.Client.CreateAsync("""{"num_features":2}""");
        await using var window = await OpenAsync(session.Name);
        await window.Page.GetByLabel("Paste a tensor").FillAsync(text);
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Run a train-step" }).ClickAsync();
        var said = await window.Page.Locator(".problem:visible").TextContentAsync();
        Assert.True(said!.Contains(reason, StringComparison.OrdinalIgnoreCase) || (reason == "2 channels" && said.Contains("num_features", StringComparison.Ordinal)), said);
        if (text.Length == 0) await window.RequireNoViolationsAsync();
    }

    [Theory]
    [InlineData("short.npy", "\u0093NUMPY")]
    [InlineData("ints.npy", null)]
    [InlineData("text.safetensors", "no file at all, but a text")]
    public async Task A_file_that_cannot_be_read_says_why(string name, string? content)
    {
        var service = shared.Service;
        var session = await service.Client.CreateAsync("""{"num_features":2}""");
        await using var window = await OpenAsync(session.Name);
        var bytes = content is null ? Npy("<i8", fortran: false, new byte[48]) : Encoding.Latin1.GetBytes(content);
        await window.Page.SetInputFilesAsync("#file", new FilePayload { Name = name, MimeType = "", Buffer = bytes });
        await window.SeesAsync($"{name} cannot be read.");
        Assert.NotEqual("", await window.Page.Locator(".problem:visible").TextContentAsync());
    }

    private async Task<Window> OpenAsync(string session)
    {
        var window = await browser.OpenAsync(shared.Service.Address);
        await window.GoAsync($"/#/try/{session}");
        await window.SeesAsync("This session takes 2 channels");
        return window;
    }

    private static async Task<string> CopyAsync(Window window, string language)
    {
        await window.Page.GetByRole(AriaRole.Tab, new() { Name = language }).ClickAsync();
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Copy", Exact = true }).ClickAsync();
        await window.SeesAsync("Copied");
        return await window.Page.EvaluateAsync<string>("navigator.clipboard.readText()");
    }

    private static Task SeesSpreadAsync(Window window, string label) => window.Page.Locator($".histogram[aria-label^=\"{label}\"]").First.WaitForAsync();

    private static byte[] Npy(string type, bool fortran, IEnumerable<byte> data)
    {
        var header = string.Create(CultureInfo.InvariantCulture, $"{{'descr': '{type}', 'fortran_order': {(fortran ? "True" : "False")}, 'shape': (3, 2), }}").PadRight(117) + "\n";
        return [0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, 0, .. Encoding.Latin1.GetBytes(header), .. data];
    }

    private static byte[] Safetensors(string name, string type, IEnumerable<byte> data)
    {
        var bytes = data.ToArray();
        var header = Encoding.UTF8.GetBytes($$$"""{"{{{name}}}":{"dtype":"{{{type}}}","shape":[3,2],"data_offsets":[0,{{{bytes.Length}}}]}}""");
        return [.. BitConverter.GetBytes((long)header.Length), .. header, .. bytes];
    }
}
