using System.Globalization;
using System.Text.Json.Nodes;
using BnService.Api.Endpoints;
using Microsoft.OpenApi;

namespace BnService.Api.Hosting.OpenApi;

/// <summary>
/// Parameters in paths and queries as the document describes them. Handlers read whole numbers as texts, so that what is no number is
/// refused in words of the contract.
/// </summary>
internal static class KnownParameters
{
    private static readonly Dictionary<string, Known> ByName = new()
    {
        ["session"] = new("Name or id of the session.", RequestExamples.SessionName),
        ["prefix"] = new("Beginning of the names to list.", RequestExamples.SessionName),
        ["kind"] = new("Kind of the sessions to list.", "batch_norm"),
        ["limit"] = new("The most sessions of a page; 50 where absent.", 50, 1, 1000),
        ["GetHistory.limit"] = new("The most steps to answer with; 100 where absent.", 100, 1, 1024),
        ["cursor"] = new("The next_cursor of the page before.", null),
        ["version"] = new("Version of a snapshot.", 9, 1),
        ["Inference.version"] = new("Version of a snapshot to infer with; the newest state where absent.", null, 1),
        ["GetState.version"] = new("Version of a snapshot; the newest state where absent.", null, 1),
        ["PutState.from"] = new(
            "Prefix of the layer's names in the body, as `layer1.0.bn1.` in a whole model's file, or `.` for names without one; the " +
            "other names are ignored, and answered. " +
            "Where absent the body has one layer.", null),
        ["PutState.kind"] = new(
            "Kind of a new session, as options.kind. The other options of a layer, and convention, may stand in the query too.", null),
        ["group"] = new("Name of the group of ranks, of the caller's choice.", "workers"),
        ["rank"] = new("This rank, from 0.", 0, 0, SessionToChange.MostRanks - 1) { IsRequired = true },
        ["world_size"] = new("Number of ranks, the same for all.", 1, 1, SessionToChange.MostRanks) { IsRequired = true },
        ["id"] = new("Id of the key: the part of it between the two first underscores.", "3f9ac02e51b7d846"),
        ["search"] = new("Part of the names to list, in small or capital letters.", "resnet"),
        ["health"] = new("How the sessions to list are: healthy, settling, small_batches, drifting or dead_channels.", "drifting"),
        ["channel"] = new("Index of a statistic, of which each step says what it was there.", 0, 0, int.MaxValue),
        ["ListSessions.include"] =
            new("What to add, separated by commas: health, drift (the last ones of each session), total (of all pages).",
            "health,drift,total"),
        ["include"] = new("Names of the fields to answer with, separated by commas; all where absent.", "running_mean,running_var"),
    };

    /// <summary>Describes a parameter of a call; one that is not known stays as it is.</summary>
    public static void Describe(OpenApiParameter parameter, string operation)
    {
        // The same name can mean something else in one call.
        if (!ByName.TryGetValue($"{operation}.{parameter.Name}", out var known) && !ByName.TryGetValue(parameter.Name!, out known)) return;
        (parameter.Description, parameter.Example) = (known.Description, known.Example?.DeepClone());
        if (known.Least is { } least) parameter.Schema = Integer(least, known.Most);
        if (known.IsRequired) parameter.Required = true;
    }

    /// <summary>A whole number: of 32 bits if it has a largest value, otherwise of 64.</summary>
    public static OpenApiSchema Integer(long least, long? most) => new()
    {
        Type = JsonSchemaType.Integer,
        Format = most is null ? "int64" : "int32",
        Minimum = least.ToString(CultureInfo.InvariantCulture),
        Maximum = most is null or int.MaxValue ? null : most.Value.ToString(CultureInfo.InvariantCulture),
    };

    private sealed record Known(string Description, JsonNode? Example, long? Least = null, long? Most = null)
    {
        public bool IsRequired { get; init; }
    }
}

/// <summary>An example body for each call; sent in the order of the document they all work.</summary>
internal static class RequestExamples
{
    /// <summary>The session that the examples create and use.</summary>
    public const string SessionName = "demo";

    /// <summary>Example bodies by operation.</summary>
    public static IReadOnlyDictionary<string, string> ByOperation { get; } = new Dictionary<string, string>
    {
        ["CreateSession"] = """{"name":"demo","kind":"batch_norm","num_features":3,"momentum":0.1,"eps":1e-5,"labels":{"team":"search"}}""",
        ["PutSession"] = """{"kind":"batch_norm","num_features":3,"momentum":0.1,"eps":1e-5}""",
        ["PatchSession"] = """{"momentum":0.05,"labels":{"team":"ranking"}}""",
        ["ResetSession"] = """{"parameters":false}""",
        ["TrainStep"] = """{"x":{"shape":[4,3],"data":[1,10,100,2,20,200,3,30,300,4,40,400]},"retain":true}""",
        ["Inference"] = """{"x":{"shape":[1,3],"data":[1,10,100]}}""",
        ["Backward"] = """
            {"x":{"shape":[4,3],"data":[1,10,100,2,20,200,3,30,300,4,40,400]},
             "dy":{"shape":[4,3],"data":[0.1,0,0,0,0.2,0,0,0,0.3,0,0,0]},
             "mode":"train",
             "update":{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9}}
            """,
        ["UpdateParameters"] =
            """{"dgamma":[0.1,0,-0.2],"dbeta":[0.3,0,0],"update":{"optimizer":"adamw","learning_rate":0.01,"clip_norm":1}}""",
        ["SyncTrainStep"] = """{"x":{"shape":[4,3],"data":[1,10,100,2,20,200,3,30,300,4,40,400]},"retain":true}""",
        ["SyncBackward"] = """
            {"x":{"shape":[4,3],"data":[1,10,100,2,20,200,3,30,300,4,40,400]},
             "dy":{"shape":[4,3],"data":[0.1,0,0,0,0.2,0,0,0,0.3,0,0,0]}}
            """,
        ["Normalize"] = """
            {"kind":"layer_norm","normalized_shape":[3],"x":{"shape":[2,3],"data":[1,2,3,40,50,60]},"gamma":[1,1,1],"beta":[0,0,0],
             "backward":{"dy":{"shape":[2,3],"data":[0.1,0,0,0,0.2,0]}}}
            """,
        ["PutParameters"] = """{"gamma":[1,1,1],"beta":[0,0,0]}""",
        ["PutState"] = """
            {"weight":[1,1,1],"bias":[0,0,0],"running_mean":[2.5,25,250],"running_var":[1.25,125,12500],"num_batches_tracked":1,
             "convention":"pytorch","options":{"num_features":3,"eps":1e-5}}
            """,
        ["CreateSnapshot"] = """{"description":"after the first epoch"}""",
        ["Fold"] = """{"layer":"linear","weight":{"shape":[3,3],"data":[1,0,0.5,0,1,0.5,1,1,0]},"bias":[0,10,100],"position":"after"}""",
        ["PutRunningStats"] = """{"running_mean":[2.5,25,250],"running_var":[1.25,125,12500],"num_batches_tracked":1}""",
        ["CreateKey"] = """{"name":"operations","role":"admin"}""",
        ["AddCalibrationBatch"] = """{"x":{"shape":[4,3],"data":[1,10,100,2,20,200,3,30,300,4,40,400]}}""",
        ["MergeStatistics"] = """{"moments":[{"count":4,"mean":[2.5,25,250],"m2":[5,500,50000]}]}""",
    };
}
