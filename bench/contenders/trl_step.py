"""TRL 1.16: `DPOTrainer.train` over the same pairs; timed from the start of a step to the end of its optimizer step.

TRL's defaults but for what would make it slower or is not the work: gradient checkpointing (on by default) and
autocast (`bf16=True` by default) are options here, and the bench keeps the fastest. The reference model runs beside
the policy, AdamW follows every batch. Batches go from long to short, so padding costs TRL little.
"""

import argparse
import tempfile

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, TrainerControl, TrainerState
from trl import DPOConfig, DPOTrainer

from bench.measure import Memory, Span, emit, own, parse
from bench.workload import Workload


class Tokenised(DPOTrainer):
    """The trainer on token ids: tokenising is no part of the work, and the ids must be those of the others."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset


class Clock(TrainerCallback):
    """The time of each step: forward of policy and reference, backward, clipping, optimizer."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def on_step_begin(self, args: DPOConfig, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self.started = Span.now()

    def on_step_end(self, args: DPOConfig, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self.spans.append(Span.now() - self.started)


def as_dataset(workload: Workload, num_warmup: int) -> Dataset:
    """The longest `num_warmup` pairs to warm up on, then all pairs, long ones first."""

    def longest_side(i: int) -> int:
        return max(len(workload.chosen_ids[i]), len(workload.rejected_ids[i])) + len(workload.prompt_ids[i])

    order = sorted(range(len(workload)), key=longest_side, reverse=True)
    order = order[:num_warmup] + order
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_dict({column: [getattr(workload, column)[i] for i in order] for column in columns})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1, help="pairs per step")
    parser.add_argument("--checkpointing", action="store_true", help="TRL's default: recompute activations")
    parser.add_argument("--autocast", action="store_true", help="TRL's default: bf16=True")
    task = parse(parser)
    batch = task.options.batch
    assert len(task.workload) % batch == 0, "the last batch would be smaller than the others"
    model = own(AutoModelForCausalLM.from_pretrained(task.model, dtype=task.dtype))
    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        memory = Memory()
        arguments = DPOConfig(
            output_dir=scratch,
            use_cpu=True,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            gradient_checkpointing=task.options.checkpointing,
            bf16=task.options.autocast,
            train_sampling_strategy="sequential",
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = Tokenised(
            model=model,
            args=arguments,
            train_dataset=as_dataset(task.workload, batch),
            processing_class=AutoTokenizer.from_pretrained(task.model),
            callbacks=[clock],
        )
        trainer.train()
    span = sum(clock.spans[1:], start=Span(0, 0))
    optimizer = type(trainer.optimizer).__name__
    emit(task, span, model, memory, batch=batch, steps=len(clock.spans) - 1, optimizer=optimizer)


if __name__ == "__main__":
    main()
