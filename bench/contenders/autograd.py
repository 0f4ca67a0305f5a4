"""Plain autograd, one pair at a time: both sequences forward, one backward to explicit weight gradients.

The weights of the gradient space require grad and nothing else does. The gradient is made in full, and of it only the
norm is kept, the cheapest use there is.
"""

import argparse

import torch

from bench.exact import pair_gradient, space_weights
from bench.measure import Memory, emit, load, parse, timed


def main() -> None:
    task = parse(argparse.ArgumentParser(description=__doc__))
    model = load(task)
    weights = space_weights(model)
    memory = Memory()

    def gradients(num_pairs: int) -> list[float]:
        norms = []
        for i in range(num_pairs):
            gradient = pair_gradient(model, task.workload, i, weights)
            norms.append(float(torch.stack(torch._foreach_norm(gradient)).norm()))
        return norms

    gradients(2)
    span = timed(lambda: gradients(len(task.workload)))
    gradient_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
    emit(task, span, model, memory, gradient_bytes=gradient_bytes)


if __name__ == "__main__":
    main()
