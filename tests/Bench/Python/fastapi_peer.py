"""PyTorch's batch normalization behind FastAPI, the way one would serve it: bodies are NumPy files, or JSON.

Run by uvicorn with one worker: several would not share the running statistics that a train-step moves.
The environment variable BENCH_LAYER names a file of float32: gamma, beta, running mean, running variance.
"""
import ast
import json
import os
import sys
import warnings

import fastapi
import numpy
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from torch.nn.functional import batch_norm

EPS = 1e-5
MOMENTUM = 0.1
PREAMBLE = 10

# The body's bytes are only read.
warnings.filterwarnings("ignore", message=".*non-writ.*able")

gamma, beta, mean, variance = torch.from_numpy(numpy.fromfile(os.environ["BENCH_LAYER"], dtype=numpy.float32)).reshape(4, -1)
moving_mean, moving_variance = mean.clone(), variance.clone()
app = FastAPI()


def normalized(body, running_mean, running_variance, training):
    """The answer to a NumPy file of format 1.0: its own header, for y has the shape of x, and the normalized floats."""
    start = PREAMBLE + int.from_bytes(body[PREAMBLE - 2 : PREAMBLE], "little")
    shape = ast.literal_eval(body[PREAMBLE:start].decode("latin1"))["shape"]
    x = torch.from_numpy(numpy.frombuffer(body, dtype="<f4", offset=start).reshape(shape))
    with torch.no_grad():
        y = batch_norm(x, running_mean, running_variance, gamma, beta, training, MOMENTUM, EPS)
    return Response(b"".join((memoryview(body)[:start], memoryview(y.numpy()).cast("B"))), media_type="application/x-npy")


@app.get("/versions")
async def versions():
    fast = [name for name in ("uvloop", "httptools") if name in sys.modules]
    with_fast = f" with {' and '.join(fast)}" if fast else ""
    text = f"FastAPI {fastapi.__version__}, uvicorn {uvicorn.__version__}{with_fast}, PyTorch {torch.__version__}"
    return Response(text, media_type="text/plain")


@app.post("/inference")
async def inference(request: Request):
    return normalized(await request.body(), mean, variance, False)


@app.post("/train-step")
async def train_step(request: Request):
    return normalized(await request.body(), moving_mean, moving_variance, True)


@app.post("/json")
async def inference_json(request: Request):
    x = json.loads(await request.body())["x"]
    values = torch.from_numpy(numpy.array(x["data"], dtype=numpy.float32)).reshape(x["shape"])
    with torch.no_grad():
        y = batch_norm(values, mean, variance, gamma, beta, False, MOMENTUM, EPS)
    return Response(json.dumps({"y": {"shape": x["shape"], "data": y.flatten().tolist()}}), media_type="application/json")
