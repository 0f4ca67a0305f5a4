"""bergson 2.5.1: what `bergson build --projection_dim 16` does after it has loaded the model, in this process.

Two sequences a pair, labels on the response only, 16 x 16 projected gradients of the summed log-probability. By its
defaults it hooks every linear layer of the base model: the decoder blocks without embedding and head, as we do. Timed
is `collect_gradients`: forward, backward, projections, and writing the rows. Its projection matrices are cached on
the processor and drawn while warming up.
"""

import argparse
import tempfile
from pathlib import Path

from bergson.collection import collect_gradients
from bergson.config.config import IndexConfig, PreprocessConfig
from bergson.data import allocate_batches
from bergson.utils.worker_utils import create_processor, setup_model_and_peft
from datasets import Dataset

from bench.measure import Memory, emit, own, parse, timed
from bench.workload import Workload

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


def as_dataset(workload: Workload) -> Dataset:
    """Tokenised rows as bergson's data pipeline makes them from prompt and completion columns."""
    sequences = workload.sequences()
    return Dataset.from_dict(
        {
            "input_ids": [ids for ids, _ in sequences],
            "labels": [[-100] * num_prompt + ids[num_prompt:] for ids, num_prompt in sequences],
            "length": [len(ids) for ids, _ in sequences],
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-tokens", type=int, default=2048, help="bergson's token_batch_size")
    parser.add_argument("--projection-dim", type=int, default=16)
    parser.add_argument("--keep", type=Path, help="leave the index in this directory")
    task = parse(parser)
    with tempfile.TemporaryDirectory() as scratch:
        config = IndexConfig(
            run_path=str(task.options.keep or Path(scratch) / "index"),
            model=task.model,
            precision=PRECISIONS[task.options.dtype],
            projection_dim=task.options.projection_dim,
            token_batch_size=task.options.batch_tokens,
        )
        config.partial_run_path.mkdir(parents=True)
        model, target_modules = setup_model_and_peft(config)
        processor = create_processor(own(model), config, target_modules)
        memory = Memory()

        def collect(workload: Workload) -> None:
            data = as_dataset(workload)
            batches = allocate_batches(data["length"][:], config.token_batch_size)
            collect_gradients(
                model=model,
                data=data,
                processor=processor,
                cfg=config,
                batches=batches,
                target_modules=target_modules,
                preprocess_cfg=PreprocessConfig(),
            )

        collect(task.workload.head(2))
        span = timed(lambda: collect(task.workload))
        emit(task, span, model, memory, batch_tokens=config.token_batch_size)


if __name__ == "__main__":
    main()
