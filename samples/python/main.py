#!/usr/bin/env python3
"""The main job of BnService from Python, with numpy alone: trains a layer on the wines, takes gradients through it and serves from it.

Whatever the service answers is compared with what numpy computes; the last line is "N comparisons hold".

Usage: main.py [http://localhost:5000]    a key, where the service asks for one, is taken from BN_API_KEY
"""
import csv
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request
import uuid

import numpy as np

from tensor_files import from_npy, from_safetensors, to_npy, to_safetensors

URL = (sys.argv[1] if len(sys.argv) > 1 else "http://localhost:5000").rstrip("/")
NPY, SAFETENSORS, JSON = "application/x-npy", "application/x-safetensors", "application/json"
EPS, LEARNING_RATE, ATTEMPTS = 1e-5, 0.1, 8
comparisons = 0


def call(method, path, body=b"", form=JSON, accept=None, changes=False):
    """Sends a request until it is answered. One that changes the session has a key, so that it counts once however often it is sent."""
    headers = {"Content-Type": form, "Accept": accept or form}
    if os.environ.get("BN_API_KEY"):
        headers["Authorization"] = f"Bearer {os.environ['BN_API_KEY']}"
    if changes:
        headers["Idempotency-Key"] = uuid.uuid4().hex
    for attempt in range(1, ATTEMPTS + 1):
        wait = 0.1 * 2 ** attempt
        try:
            with urllib.request.urlopen(urllib.request.Request(URL + path, body or None, headers, method=method), timeout=60) as response:
                return response.headers, response.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code not in (429, 503) or attempt == ATTEMPTS:
                sys.exit(f"{method} {path} was answered {error.code}: {text}")
            wait = max(wait, float(error.headers.get("Retry-After", 0)))
        except OSError as error:  # refused, or lost on the way
            if attempt == ATTEMPTS:
                sys.exit(f"{method} {path}: {error}")
        time.sleep(wait)


def compare(what, actual, expected, tolerance=1e-5):
    global comparisons
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or not np.allclose(actual, expected, rtol=tolerance, atol=tolerance):
        sys.exit(f"{what} differs from numpy's: {actual} instead of {expected}")
    comparisons += 1


def wines():
    """178 wines, 13 measurements each; the last column is the cultivar and stays out."""
    file = pathlib.Path(__file__).resolve().parent.parent / "data" / "wine.csv"
    with open(file, newline="") as lines:
        return np.array([row[:13] for row in list(csv.reader(lines))[1:]], np.float32)


def forward(x, gamma, beta):
    """y of a train-step, and what its gradient needs."""
    x = x.astype(np.float64)
    mean, var = x.mean(0), x.var(0)
    normalized = (x - mean) / np.sqrt(var + EPS)
    return gamma * normalized + beta, normalized, mean, var


def backward(dy, normalized, var, gamma):
    dgamma, dbeta = (dy * normalized).sum(0), dy.sum(0)
    dx = gamma / np.sqrt(var + EPS) * (dy - dbeta / len(dy) - normalized * dgamma / len(dy))
    return dx, dgamma, dbeta


def train_npy(path, x, dy):
    """One array in, one out; the rest is in the query and in headers."""
    headers, y = call("POST", f"{path}/train-step", to_npy(x), NPY, changes=True)
    _, dx = call("POST", f"{path}/backward?step_id={headers['Bn-Step-Id']}", to_npy(dy), NPY)
    return from_npy(y), from_npy(dx)


def train_safetensors(path, x, dy, gamma):
    """Tensors by name; the step's gradients move gamma and beta in the same call."""
    step, texts = from_safetensors(call("POST", f"{path}/train-step", to_safetensors({"x": x}), SAFETENSORS, changes=True)[1])
    update = json.dumps({"optimizer": "sgd", "learning_rate": LEARNING_RATE})
    body = to_safetensors({"dy": dy}, step_id=texts["step_id"], update=update)
    gradients, _ = from_safetensors(call("POST", f"{path}/backward", body, SAFETENSORS, changes=True)[1])
    _, normalized, mean, var = forward(x, gamma, 0)
    compare("batch_mean", step["batch_mean"], mean)
    compare("batch_var", step["batch_var"], var)
    dx, dgamma, dbeta = backward(dy, normalized, var, gamma)
    compare("dgamma", gradients["dgamma"], dgamma, 1e-4)
    compare("dbeta", gradients["dbeta"], dbeta, 1e-4)
    compare("gamma after the update", gradients["gamma"], gamma - LEARNING_RATE * dgamma, 1e-4)
    return step["y"], gradients["dx"], gradients["gamma"], gradients["beta"]


def serve_by_stock_client(name, x, expected):
    """The Open Inference Protocol through Triton's client, where it is installed; returns whether it is."""
    try:
        import tritonclient.http as triton
    except ImportError:
        return False
    key = os.environ.get("BN_API_KEY")
    client = triton.InferenceServerClient(URL.split("://")[1], ssl=URL.startswith("https"))
    sent = triton.InferInput("x", list(x.shape), "FP32")
    sent.set_data_from_numpy(x)
    answer = client.infer(name, [sent], headers={"Authorization": f"Bearer {key}"} if key else None)
    compare("y by tritonclient", answer.as_numpy("y"), expected, 1e-4)
    return True


def main():
    x, random = wines(), np.random.default_rng(1)
    name = f"python-{uuid.uuid4().hex[:12]}"
    path = f"/v1/sessions/{name}"
    call("POST", "/v1/sessions", json.dumps({"name": name, "num_features": 13, "momentum": None}).encode())
    try:
        gamma, beta, means, variances = np.ones(13), np.zeros(13), [], []
        for number in range(6):
            batch = x[number::6]
            dy = random.standard_normal(batch.shape).astype(np.float32)
            y, normalized, mean, var = forward(batch, gamma, beta)
            dx, _, _ = backward(dy, normalized, var, gamma)
            if number % 2 == 0:
                answered_y, answered_dx = train_npy(path, batch, dy)
            else:
                answered_y, answered_dx, gamma, beta = train_safetensors(path, batch, dy, gamma)
            compare("y", answered_y, y, 1e-4)
            compare("dx", answered_dx, dx, 1e-4)
            means.append(mean)
            variances.append(var * len(batch) / (len(batch) - 1))  # running statistics take the unbiased one

        stats = json.loads(call("GET", f"{path}/stats")[1])
        running_mean, running_var = np.mean(means, 0), np.mean(variances, 0)
        compare("num_batches_tracked", stats["num_batches_tracked"], 6)
        compare("running_mean", stats["running_mean"], running_mean)
        compare("running_var", stats["running_var"], running_var)
        state, _ = from_safetensors(call("GET", f"{path}/state", accept=SAFETENSORS)[1])
        compare("weight of the state", state["weight"], gamma)
        compare("running_var of the state", state["running_var"], running_var)

        served = gamma * (x - running_mean) / np.sqrt(running_var + EPS) + beta
        compare("inference by .npy", from_npy(call("POST", f"{path}/inference", to_npy(x), NPY)[1]), served, 1e-4)
        inferred, _ = from_safetensors(call("POST", f"{path}/inference", to_safetensors({"x": x[:1]}), SAFETENSORS)[1])
        compare("inference of one wine by safetensors", inferred["y"], served[:1], 1e-4)
        request = {"inputs": [{"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]}
        output = json.loads(call("POST", f"/v2/models/{name}/infer", json.dumps(request).encode())[1])["outputs"][0]
        compare("y by the Open Inference Protocol", np.reshape(output["data"], output["shape"]), served, 1e-4)
        if not serve_by_stock_client(name, x, served):
            print("tritonclient is not installed: the Open Inference Protocol was spoken by hand alone")
    finally:
        call("DELETE", path)
    print("feature   running mean   running var         gamma")
    for feature in range(13):
        print(f"{feature:7}   {running_mean[feature]:12.4f}   {running_var[feature]:11.4f}   {gamma[feature]:11.4f}")
    print(f"{comparisons} comparisons hold")


if __name__ == "__main__":
    main()
