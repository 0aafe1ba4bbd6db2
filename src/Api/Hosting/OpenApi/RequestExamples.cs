namespace BnService.Api.Hosting.OpenApi;

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
        ["UpdateParameters"] = """{"dgamma":[0.1,0,-0.2],"dbeta":[0.3,0,0],"update":{"optimizer":"adamw","learning_rate":0.01,"clip_norm":1}}""",
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
