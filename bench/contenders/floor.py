"""The floor: the matrix products that no exact pass over the same pairs can do without, and nothing else.

For every pair, one at a time, with the shared prompt once: each weight of the decoder blocks multiplies the tokens
forward and the output gradients backward; the head does so on the response tokens. No attention, norm, activation,
softmax or projection is run, and attention's FLOPs are counted apart. The weights are the model's, so the memory
traffic is real.
"""

import argparse

import torch

from bench.contenders.ours import as_pairs
from bench.measure import Memory, emit, load, parse, timed
from bench.workload import Workload
from congrad.gradients.packing import Segment, pack
from congrad.gradients.space import gradient_space


def visible(segment: Segment) -> int:
    """How many (query, key) couples the attention of one packed pair has."""
    trunk, chosen = segment.fork - segment.start, segment.turn - segment.start
    rejected = segment.end - segment.turn
    return chosen * (chosen + 1) // 2 + rejected * trunk + rejected * (rejected + 1) // 2


def main() -> None:
    task = parse(argparse.ArgumentParser(description=__doc__))
    model = load(task)
    memory = Memory()
    config = model.config.get_text_config()
    weights = [layer.module.get_parameter("weight") for layer in gradient_space(model)]
    head = model.get_output_embeddings().weight
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention_width = config.num_hidden_layers * config.num_attention_heads * head_width

    def packs(workload: Workload) -> list[tuple[int, int, int]]:
        """Of each pair: packed tokens, predicted tokens, visible couples."""
        pairs = as_pairs(workload)
        triples = zip(pairs.prompt_ids, pairs.chosen_ids, pairs.rejected_ids, strict=True)
        packed = [pack([triple], "sum") for triple in triples]
        return [(len(p.tokens_T), len(p.positions_N), visible(p.segments[0])) for p in packed]

    sizes = packs(task.workload)
    longest = max(tokens for tokens, *_ in sizes)
    widths = {width for weight in (*weights, head) for width in weight.shape}
    operands = {width: torch.randn(longest, width).to(task.dtype) for width in widths}

    @torch.inference_mode()
    def products(sizes: list[tuple[int, int, int]]) -> None:
        for num_tokens, num_predicted, _ in sizes:
            for weight in weights:
                torch.nn.functional.linear(operands[weight.shape[1]][:num_tokens], weight)
            torch.nn.functional.linear(operands[head.shape[1]][:num_predicted], head)
            torch.mm(operands[head.shape[0]][:num_predicted], head)
            for weight in reversed(weights):
                torch.mm(operands[weight.shape[0]][:num_tokens], weight)

    products(sizes[:2])
    span = timed(lambda: products(sizes))
    num_weights = sum(weight.numel() for weight in weights)
    flops = sum(4 * tokens * num_weights + 4 * predicted * head.numel() for tokens, predicted, _ in sizes)
    # Forward Q K^T and A V; backward two more each, at 2 FLOPs per couple and channel.
    attention_flops = sum(12 * couples * attention_width for *_, couples in sizes)
    emit(
        task,
        span,
        model,
        memory,
        flops=flops,
        attention_flops=attention_flops,
        flops_per_second=flops / span.seconds,
        packed_tokens=sum(tokens for tokens, *_ in sizes),
    )


if __name__ == "__main__":
    main()
