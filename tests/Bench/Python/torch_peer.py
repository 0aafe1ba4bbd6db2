"""PyTorch's batch normalization, timed on demand.

Reads one command a line from the standard input and answers with one line, so that its rounds can take turns with those of another process:

  load LAYOUT SETS FILE DIMENSION...   tensors of the given dimensions (as PyTorch counts them: N C H W, or N C)
  check OP THREADS FILE                writes the result for the first set into FILE
  time OP THREADS MILLISECONDS         microseconds per call, one number per sample
  quit

FILE holds float32: gamma, beta, running mean, running variance, x, dy, each in the order in which it lies in memory.
Whether memory is reused is decided from outside, by what the allocator is told through its environment.
"""
import sys
import time

import numpy
import torch

EPS = 1e-5
SHORTEST_SAMPLE = 2e-5


class Case:
    def __init__(self, layout, sets, path, dimensions):
        values = torch.from_numpy(numpy.fromfile(path, dtype=numpy.float32))
        channels = dimensions[1]
        parts = [channels] * 4 + [(len(values) - 4 * channels) // 2] * 2
        *parameters, x, dy = torch.split(values, parts)
        self.gamma, self.beta, self.mean, self.variance = (part.clone() for part in parameters)
        self.x = [self.view(layout, dimensions, x) for _ in range(sets)]
        self.dy = [self.view(layout, dimensions, dy) for _ in range(sets)]
        self.layout = layout
        _, self.saved_mean, self.saved_inverse = torch.native_batch_norm(self.x[0], self.gamma, self.beta, None, None, True, 0.1, EPS)

    @staticmethod
    def view(layout, dimensions, flat):
        if layout == "ChannelsLast":
            n, c, h, w = dimensions
            return flat.reshape(n, h, w, c).permute(0, 3, 1, 2).clone(memory_format=torch.preserve_format)
        return flat.reshape(dimensions).clone()

    def in_memory_order(self, tensor):
        return tensor.permute(0, 2, 3, 1) if self.layout == "ChannelsLast" else tensor

    def inference(self, i):
        return torch.nn.functional.batch_norm(self.x[i], self.mean, self.variance, self.gamma, self.beta, False, 0.1, EPS)

    def train(self, i):
        return torch.nn.functional.batch_norm(self.x[i], None, None, self.gamma, self.beta, True, 0.1, EPS)

    def backward(self, i):
        return torch.ops.aten.native_batch_norm_backward(
            self.dy[i], self.x[i], self.gamma, None, None, self.saved_mean, self.saved_inverse, True, EPS, [True, True, True])[0]

    def call(self, operation):
        return {"Inference": self.inference, "Train": self.train, "Backward": self.backward}[operation]


def sample(call, sets, seconds):
    clock = time.perf_counter
    call(0)
    start = clock()
    call(0)
    repeats = max(1, int(SHORTEST_SAMPLE / (clock() - start)))
    samples, turn, end = [], 0, clock() + seconds
    while clock() < end or not samples:
        start = clock()
        for _ in range(repeats):
            call(turn % sets)
            turn += 1
        samples.append((clock() - start) / repeats * 1e6)
    return samples


def answer(case, words):
    operation = case.call(words[1])
    torch.set_num_threads(int(words[2]))
    if words[0] == "check":
        numpy.ascontiguousarray(case.in_memory_order(operation(0)).numpy()).tofile(words[3])
        return "done"
    return " ".join(f"{value:.3f}" for value in sample(operation, len(case.x), float(words[3]) / 1e3))


def main():
    print("PyTorch", torch.__version__, flush=True)
    case = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "quit":
            break
        if words[0] == "load":
            # The old tensors go first, so that the new ones find their memory.
            case = None
            case = Case(words[1], int(words[2]), words[3], [int(word) for word in words[4:]])
            print("done", flush=True)
        else:
            print(answer(case, words), flush=True)


if __name__ == "__main__":
    with torch.no_grad():
        main()
