using System.Text.RegularExpressions;

namespace BnService.EndToEnd.Endurance;

/// <summary>A call as the service counts it.</summary>
/// <param name="Method">Its method.</param>
/// <param name="Template">Template of its path.</param>
internal sealed partial record Call(string Method, string Template)
{
    private const string Session = "/v1/sessions/{session}";

    public static readonly Call
        Create = new("POST", "/v1/sessions"), List = new("GET", "/v1/sessions"), Get = new("GET", Session), Patch = new("PATCH", Session), Delete = new("DELETE", Session),
        TrainStep = new("POST", $"{Session}/train-step"), Inference = new("POST", $"{Session}/inference"), Backward = new("POST", $"{Session}/backward"),
        Stats = new("GET", $"{Session}/stats"), History = new("GET", $"{Session}/history"), Diagnostics = new("GET", $"{Session}/diagnostics"), State = new("GET", $"{Session}/state"),
        Snapshot = new("POST", $"{Session}/snapshots"), Snapshots = new("GET", $"{Session}/snapshots"), GetSnapshot = new("GET", $"{Session}/snapshots/{{version}}"),
        DeleteSnapshot = new("DELETE", $"{Session}/snapshots/{{version}}"), Restore = new("POST", $"{Session}/snapshots/{{version}}/restore"),
        Calibrate = new("POST", $"{Session}/calibration/batches"), Commit = new("POST", $"{Session}/calibration/commit"), DropCalibration = new("DELETE", $"{Session}/calibration"),
        SyncTrainStep = new("POST", $"{Session}/sync/{{group}}/train-step"), Normalize = new("POST", "/v1/normalize"),
        Infer = new("POST", "/v2/models/{session}/infer"), Model = new("GET", "/v2/models/{session}"),
        CreateKey = new("POST", "/v1/keys"), ListKeys = new("GET", "/v1/keys"), RotateKey = new("POST", "/v1/keys/{id}/rotate"), RevokeKey = new("DELETE", "/v1/keys/{id}"),
        Metrics = new("GET", "/metrics"), Ready = new("GET", "/health/ready");

    /// <summary>The path with these in the place of its parameters.</summary>
    public string Path(params string[] values)
    {
        var next = 0;
        return Parameter().Replace(Template, _ => values[next++]);
    }

    [GeneratedRegex(@"\{\w+\}")]
    private static partial Regex Parameter();
}
