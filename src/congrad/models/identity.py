"""Which model it is: the content of its configuration, its tokenizer and its weights, and of an adapter's.

One identity, whatever the path, the rank and the dtype that the model is loaded in. Large files are hashed in parallel,
and their hashes are kept in congrad's cache (`cache.py`). A file that is changed gets another inode or another change
time, which the kernel sets, so that its old hash is not found.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from congrad.errors import UserError
from congrad.models.cache import digest
from congrad.models.packaged import CONVERTER, PACKAGES
from congrad.settings.model import Model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ALWAYS = (
    *("config.json", "generation_config.json", "adapter_config.json", "adapter_model.*", "*.index.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "tekken.json"),
    *("vocab*", "merges.txt", "*.model", "*.tiktoken"),
)
CODE = "*.py"
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.safetensors")
"""Names of weights, of which the first kind that is there is loaded; the last is for shards that an index names."""
NOT_THE_MODEL = ("_name_or_path", "transformers_version", "dtype", "use_cache", "architectures")
NOT_THE_ADAPTER = ("base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping", "task_type")


def identity(model: Model, *, in_process: bool = True) -> str:
    """What distinguishes this model, with its adapter but without its reference, from every other: a sha256 in hex.

    A server loads a model of the hub on its own (not `in_process`): its name and revision then say which it is.

    Raises:
        UserError: a model of the hub cannot be had, or a file cannot be read.
    """
    with identities(model, in_process=in_process) as (found,):
        return found()


def as_loaded(model: Model) -> dict[str, str]:
    """What decides the numbers of a model that is loaded here, for the settings that a stage is begun with."""
    return {"identity": identity(model), "dtype": model.dtype}


@contextmanager
def identities(*models: Model, in_process: bool = True) -> Iterator[list[Callable[[], str]]]:
    """Functions that give each model's `identity`; files are hashed while the block does other work."""
    pool = ThreadPoolExecutor()  # hashlib lets other threads run while it hashes
    try:
        yield [_begun(pool, model, in_process) for model in models]
    finally:
        pool.shutdown(cancel_futures=True)


def _begun(pool: ThreadPoolExecutor, model: Model, in_process: bool) -> Callable[[], str]:
    content: dict[str, Any] = {"adapter": None} | model.made_on_load
    files: dict[str, list[Path]] = {}
    if model.name in PACKAGES:
        content["model"] = {"package": PACKAGES[model.name].sha256, "converter": CONVERTER}
    elif Path(model.name).is_dir():
        files["model"] = files_of(Path(model.name), code=model.runs_code)
    elif in_process:
        files["model"] = files_of(snapshot(model), code=model.runs_code)
    else:
        content["model"] = {"name": model.name, "revision": model.revision}
    if model.adapter is not None:
        files["adapter"] = files_of(Path(model.adapter), code=False)
    digests = {part: {path.name: pool.submit(digest, path) for path in paths} for part, paths in files.items()}

    def found() -> str:
        for part, of_files in digests.items():
            try:
                content[part] = {name: future.result() for name, future in of_files.items()}
            except OSError as error:
                raise UserError(f"{error.filename} cannot be read ({error.strerror})", "check the file") from error
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    return found


def files_of(directory: Path, *, code: bool) -> list[Path]:
    """Files that decide what a model in a directory computes; `code` for Python that comes with it and is run."""
    found = sorted(path for path in directory.glob("*") if path.is_file())

    def named(*patterns: str) -> list[Path]:
        return [path for path in found if any(fnmatch(path.name, pattern) for pattern in patterns)]

    weights = next((those for kind in WEIGHTS if (those := named(kind))), [])
    return named(*ALWAYS, *((CODE,) if code else ())) + weights


def snapshot(model: Model) -> Path:
    """The directory of a hub model in the hub's cache, with the files that loading needs."""
    from huggingface_hub import snapshot_download

    from congrad.models.load import LOADING_ERRORS, explained, quiet, read_config

    with quiet():
        try:
            read_config(model.name, revision=model.revision, trust_remote_code=model.runs_code)
            for kind in WEIGHTS:
                wanted = [*ALWAYS, CODE, kind]
                directory = Path(snapshot_download(model.name, revision=model.revision, allow_patterns=wanted))
                if any(directory.glob(kind)):
                    break
        except LOADING_ERRORS as error:
            raise explained("model", model.name, error) from error
    return directory


def fingerprint(model: "PreTrainedModel") -> str:
    """What distinguishes a model in memory, which has no files, from every other: a sha256 in hex.

    Covered: every bit of every parameter and persistent buffer with its name, shape and dtype (tied ones once, an
    adapter's matrices among them), the config's values that differ from their defaults, and the adapter's config.
    Not covered: names and paths, versions of libraries, the attention implementation, the device. One checkpoint
    loaded in two dtypes has two fingerprints.
    """
    distinct = {id(tensor): (key, tensor) for key, tensor in model.state_dict(keep_vars=True).items()}
    with ThreadPoolExecutor() as pool:
        weights = sorted(pool.map(tensor_digest, *zip(*distinct.values(), strict=True)))
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in NOT_THE_MODEL}
    adapters = {
        adapter: {key: value for key, value in settings.to_dict().items() if key not in NOT_THE_ADAPTER}
        for adapter, settings in getattr(model, "peft_config", {}).items()
    }
    content = json.dumps([config, adapters, weights], sort_keys=True, default=sorted)  # PEFT's configs hold sets
    return hashlib.sha256(content.encode()).hexdigest()


def tensor_digest(key: str, tensor: "torch.Tensor") -> tuple[str, list[int], str, str]:
    import torch
    from torch.utils._python_dispatch import is_traceable_wrapper_subclass

    if is_traceable_wrapper_subclass(tensor):  # torchao's, which are made of several
        parts = [tensor_digest(name, getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0]]
        return key, list(tensor.shape), str(tensor.dtype), hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return key, list(tensor.shape), str(tensor.dtype), hashlib.sha256(content.data).hexdigest()
