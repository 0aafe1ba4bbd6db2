#!/usr/bin/env python3
"""Talks to a running service as the protocol's well-known clients do, and ends with the line "N checks passed".

Requests are built, and answers read, the way three clients do it, with nothing but Python's standard library:
  triton      tritonclient.http: no Content-Type; all outputs binary unless outputs are named; NaN bare in JSON; gzip or zlib bodies,
              compressed answers only when asked for; an error is JSON's member "error" whatever the status
  triton-aio  tritonclient.http.aio: the same over a library that always asks for gzip and deflate and undoes them for inference alone
  kserve      kserve.InferenceRESTClient: model_name in the body, an id always, octet-stream for binary inputs; reads the text of an
              error only where the type is application/json to the letter

Usage: client.py http://localhost:5000
"""
import gzip
import http.client
import json
import math
import struct
import sys
import threading
import urllib.parse
import uuid
import zlib

URL = urllib.parse.urlsplit(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:5000")
LENGTH = "Inference-Header-Content-Length"
TOLERANCE = {"FP32": 1e-6, "FP64": 1e-6, "FP16": 1e-3, "BF16": 1e-2}
MEAN, VAR, GAMMA, BETA, EPS = [1.0, -2.0, 0.5], [4.0, 0.25, 1.0], [2.0, 1.0, -1.0], [0.0, 3.0, 0.5], 1e-5
checks = 0


def check(holds, what):
    global checks
    checks += 1
    if not holds:
        sys.exit(f"FAILED: {what}")


def call(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            connection.putheader(name, str(value))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


# Tensors -----------------------------------------------------------------------------------------------------------------

def pack(datatype, values):
    if datatype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return struct.pack(f"<{len(values)}{dict(FP32='f', FP64='d', FP16='e')[datatype]}", *values)


def unpack(datatype, data):
    if datatype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return [value for (value,) in struct.iter_unpack(f"<{dict(FP32='f', FP64='d', FP16='e')[datatype]}", data)]


def normalized(values):
    return [(value - MEAN[i % 3]) / math.sqrt(VAR[i % 3] + EPS) * GAMMA[i % 3] + BETA[i % 3] for i, value in enumerate(values)]


def close(datatype, actual, expected):
    return len(actual) == len(expected) and all(abs(a - e) <= TOLERANCE[datatype] * (1 + abs(e)) for a, e in zip(actual, expected))


# Clients -----------------------------------------------------------------------------------------------------------------

def triton(model, shape, datatype, values, binary_in=True, outputs=None, request_id="", request_coding=None, answer_coding=None, aio=False):
    """One inference of tritonclient; outputs is None (nothing said: binary) or whether the named output is to be binary."""
    tensor = {"name": "x", "shape": shape, "datatype": datatype}
    raw = pack(datatype, values) if binary_in else None
    if binary_in:
        tensor["parameters"] = {"binary_data_size": len(raw)}
    else:
        tensor["data"] = values
    request = {"id": request_id} if request_id else {}
    request["inputs"] = [tensor]
    if outputs is None:
        request["parameters"] = {"binary_data_output": True}
    else:
        request["outputs"] = [{"name": "y", "parameters": {"binary_data": outputs}}]
    text = json.dumps(request).encode()
    headers = {"Content-Type": "application/octet-stream", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"} if aio else {}
    if binary_in:
        headers[LENGTH] = len(text)
    body = text + (raw or b"")
    if request_coding:
        headers["Content-Encoding"] = request_coding
        body = gzip.compress(body) if request_coding == "gzip" else zlib.compress(body)
    if answer_coding:
        headers["Accept-Encoding"] = answer_coding
    status, answered, content = call("POST", f"/v2/models/{urllib.parse.quote(model)}/infer", body, headers)
    if status != 200:
        return status, json.loads(content)["error"]
    coding = answered.get("Content-Encoding")
    check(coding == (answer_coding or ("gzip" if aio else None)), f"answer coded {coding}, asked for {answer_coding}")
    if coding:
        content = gzip.decompress(content) if coding == "gzip" else zlib.decompress(content)
    length = answered.get(LENGTH)
    result = json.loads(content[:int(length)] if length else content)
    output = result["outputs"][0]
    size = output.get("parameters", {}).get("binary_data_size")
    data = output["data"] if size is None else unpack(output["datatype"], content[int(length):int(length) + size])
    return status, dict(result, data=data, shape=output["shape"], datatype=output["datatype"], name=output["name"], binary=size is not None)


def kserve(model, shape, datatype, values, binary_in, binary_out):
    """One inference of InferenceRESTClient: status and answer, or status and the error that its exception would show."""
    tensor = {"name": "x", "shape": shape, "datatype": datatype}
    raw = pack(datatype, values) if binary_in else b""
    if binary_in:
        tensor["parameters"] = {"binary_data_size": len(raw)}
    if not raw:
        tensor["data"] = None if binary_in else values
    request = {"id": str(uuid.uuid4()), "model_name": model, "inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": binary_out}}]}
    text = json.dumps(request).encode()
    headers = {"accept": "*/*", "accept-encoding": "gzip, deflate, br, zstd", "user-agent": "python-httpx/0.27.0"}
    if raw:
        headers |= {LENGTH.lower(): len(text), "content-type": "application/octet-stream"}
    status, answered, content = call("POST", f"/v2/models/{model}/infer", text + raw, headers)
    if status != 200:
        return status, json.loads(content)["error"] if answered["content-type"] == "application/json" else ""
    content = gzip.decompress(content) if answered.get("content-encoding") == "gzip" else content
    length = int(answered.get(LENGTH, len(content)))
    result = json.loads(content[:length])
    output = result["outputs"][0]
    data = unpack(datatype, content[length:]) if "binary_data_size" in output.get("parameters", {}) else output["data"]
    check(result["id"] == request["id"], "the id comes back")
    return status, dict(result, data=data, shape=output["shape"])


def get(path):
    status, headers, content = call("GET", path)
    check(headers["Content-Type"] == "application/json", f"{path} is JSON")
    return status, json.loads(content)


# What is checked ---------------------------------------------------------------------------------------------------------

def create(model):
    body = json.dumps({"name": model, "num_features": 3, "eps": EPS}).encode()
    types = {"Content-Type": "application/json"}
    check(call("POST", "/v1/sessions", body, types)[0] == 201, "the session is created")
    statistics = json.dumps({"running_mean": MEAN, "running_var": VAR, "num_batches_tracked": 1}).encode()
    check(call("PUT", f"/v1/sessions/{model}/running-stats", statistics, types)[0] == 200, "its statistics are set")
    check(call("PUT", f"/v1/sessions/{model}/parameters", json.dumps({"gamma": GAMMA, "beta": BETA}).encode(), types)[0] == 200, "its parameters are set")


def describes(model):
    check(get("/v2/health/live") == (200, {"live": True}) and get("/v2/health/ready") == (200, {"ready": True}), "live and ready")
    check("binary_tensor_data" in get("/v2")[1]["extensions"], "binary tensors are announced")
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
    check(get(f"/v2/models/{model}")[1] == {"name": model, "versions": [], "platform": "bnservice", "inputs": [tensor], "outputs": [dict(tensor, name="y")]}, "metadata")
    check(get(f"/v2/models/{model}/ready") == (200, {"name": model, "ready": True}), "ready")
    check(get(f"/v2/models/{model}/config")[1]["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3]}], "configuration")
    check({"name": model, "version": "", "state": "READY", "reason": ""} in json.loads(call("POST", "/v2/repository/index", b"")[2]), "the index")
    status, error = get("/v2/models/nosuch")
    check(status == 404 and list(error) == ["error"], "an unknown model")


def infers(model):
    for shape in ([4, 3], [2, 3, 1, 1], [0, 3]):
        values = [((i * 37) % 11 - 5) / 4 for i in range(math.prod(shape))]
        expected = normalized(values)
        for datatype in TOLERANCE:
            has_json = datatype in ("FP32", "FP64")
            for binary_in in (True, False):
                for outputs in (None, True, False):
                    for coding in (None, "gzip", "deflate"):
                        for aio in (False, True):
                            status, answer = triton(model, shape, datatype, values, binary_in, outputs, "7", coding, None if aio else coding, aio)
                            what = f"{shape} {datatype} in {binary_in} out {outputs} {coding} aio {aio}: {answer}"
                            if not has_json and (not binary_in or outputs is False):
                                check(status == 400 and "binary" in answer, what)
                                continue
                            check(status == 200 and close(datatype, answer["data"], expected) and answer["shape"] == shape, what)
                            check((answer["datatype"], answer["name"], answer["id"], answer["model_name"]) == (datatype, "y", "7", model), what)
                            check(answer["binary"] == (outputs is not False), what)
                for binary_out in (True, False):
                    if has_json or (binary_in and binary_out):
                        status, answer = kserve(model, shape, datatype, values, binary_in, binary_out)
                        check(status == 200 and close(datatype, answer["data"], expected) and answer["shape"] == shape, f"kserve {shape} {datatype} {answer}")


def refuses(model):
    for values, outputs in (([math.nan, 0.0, math.inf], False), ([0.0, -math.inf, 0.0], False)):
        status, error = triton(model, [1, 3], "FP32", values, False, outputs)
        check(status == 400 and "'y'" in error and "binary" in error, f"not finite: {error}")
        status, answer = triton(model, [1, 3], "FP32", values, False, None)
        check(status == 200 and [math.isfinite(value) for value in answer["data"]] == [math.isfinite(value) for value in values], "not finite, in binary")
    for aio in (False, True):
        status, error = triton(model, [1, 4], "FP32", [1.0, 2.0, 3.0, 4.0], aio=aio)
        check(status == 400 and "3 channels" in error, f"a wrong shape: {error}")
    status, error = kserve(model, [1, 4], "FP32", [1.0, 2.0, 3.0, 4.0], True, True)
    check(status == 400 and "3 channels" in error, f"a wrong shape: {error}")
    status, error = kserve("nosuch", [1, 3], "FP32", [1.0, 2.0, 3.0], False, False)
    check(status == 404 and "nosuch" in error, f"an unknown model: {error}")


def counts(model):
    before = get(f"/v2/models/{model}/stats")[1]["model_stats"][0]
    threads = [threading.Thread(target=lambda: [triton(model, [2, 3], "FP32", [0.0] * 6) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = next(entry for entry in get("/v2/models/stats")[1]["model_stats"] if entry["name"] == model)
    check(after["inference_count"] - before["inference_count"] == 200, "samples are counted")
    check(after["inference_stats"]["queue"]["count"] - before["inference_stats"]["queue"]["count"] == 100, "requests are counted")
    check(after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"], "their time is counted")


name = f"client-{uuid.uuid4().hex[:8]}"
create(name)
describes(name)
infers(name)
refuses(name)
counts(name)
check(call("DELETE", f"/v1/sessions/{name}")[0] == 204, "the session is deleted")
print(f"open inference protocol: {checks} checks passed")
