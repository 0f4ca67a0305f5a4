"""The unit: a plain forward pass over the two sequences of a pair, one sequence at a time, without padding."""

import argparse

import torch

from bench.measure import Memory, emit, load, parse, timed


def main() -> None:
    task = parse(argparse.ArgumentParser(description=__doc__))
    model = load(task)
    memory = Memory()
    sequences = [torch.tensor([ids]) for ids, _ in task.workload.sequences()]

    @torch.inference_mode()
    def forward(batch: list[torch.Tensor]) -> None:
        for ids in batch:
            model(ids, use_cache=False)

    forward(sequences[:4])
    emit(task, timed(lambda: forward(sequences)), model, memory)


if __name__ == "__main__":
    main()
