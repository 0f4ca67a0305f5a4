"""A frozen causal language model and its tokenizer.

The filter never changes the model, so nothing in it requires a gradient: the passes that need one hook in where they
need it. Everything that can be wrong with a model's name is said in one line.
"""

import gc
import json
import logging as python_logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.utils import logging

from congrad.errors import UserError
from congrad.machine import ran_out
from congrad.models.device import pick_device
from congrad.models.lora import with_new_lora
from congrad.models.packaged import PACKAGES, resolve
from congrad.models.precision import choose
from congrad.models.quantised import as_float32, check_quantised, quantising, settle, stored
from congrad.models.template import read_plain_text
from congrad.settings.model import DTYPES, Bits, Model, NewLora
from congrad.words import one_line, quote

log = python_logging.getLogger(__name__)

LOADING_ERRORS = (
    *(OSError, ValueError, ImportError, RuntimeError, SafetensorError, MemoryError),
    *(StrictDataclassError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),  # odd values
)
MOST_LAYERS = 1000  # each is built, even where nothing is loaded
PICKLED = ("pytorch_model*.bin", "adapter_model.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
SAFE_ADAPTER = "adapter_model.safetensors"


def load_model(
    name: str,
    *,
    dtype: torch.dtype | str = "auto",
    device: torch.device | str = "auto",
    adapter: str | None = None,
    lora: NewLora | None = None,
    quantise: Bits | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
) -> PreTrainedModel:
    """A causal language model in eval mode that requires no gradients and keeps no cache.

    Args:
        name: a short name (`congrad.models.packaged`), a local directory or a hub id.
        dtype: `"auto"` for the faster of float32 and bfloat16 on this device, as it was measured
            (`congrad.models.precision`; the log says which); float32, bfloat16 or float16; or a torch dtype.
        device: `"auto"` for the first accelerator that computes what the CPU computes (`congrad.models.device`), else
            the CPU; or a device.
        adapter: a LoRA adapter as PEFT saves it, put into the model unmerged.
        lora: a new adapter, put into the model in the place of one (`congrad.models.lora`).
        quantise: quantise the weights with bitsandbytes (`congrad.models.quantised`).
        revision: of a hub id.
        trust_remote_code: run Python that comes with the checkpoint.
        attn_implementation: as transformers names it; `None` for the model's default.

    Raises:
        UserError: in one line, what is wrong with any of these.
    """
    torch_dtype = parse_dtype(dtype)
    device = pick_device(device, on_note=log.warning) if isinstance(device, str) else device
    if adapter is not None:
        check_adapter(adapter)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    with quiet():
        try:
            path, config = read_config(name, **options)
            check_quantised(name, config, quantise, device)
            if torch_dtype == "auto":
                skeleton = make_skeleton(config, trust_remote_code)
                choice = choose("auto", device, skeleton, num_weights=as_float32(skeleton, quantise))
                log.log(python_logging.WARNING if choice.is_slow else python_logging.INFO, "%s: %s", name, choice.words)
                torch_dtype = parse_dtype(choice.dtype)
            assert isinstance(torch_dtype, torch.dtype)
            if quantise is not None or stored(config).get("quant_method") == "bitsandbytes":
                options["device_map"] = {"": device}  # such weights are packed where they are loaded
            model, info = auto_class(config).from_pretrained(
                path,
                config=config,
                dtype=torch_dtype,
                attn_implementation=attn_implementation,
                output_loading_info=True,
                use_safetensors=True,
                **quantising(quantise, torch_dtype),
                **options,
            )
        except LOADING_ERRORS as error:
            raise explained("model", name, error) from error
        if missing := sorted(info["missing_keys"]):
            raise UserError(
                f"model {name}: {len(missing)} weights are missing in the checkpoint, the first is {missing[0]}"
            )
        if adapter is not None:
            model = with_adapter(model, adapter)
        if lora is not None:
            model = with_new_lora(model, lora)
    settle(model)
    model.config.get_text_config().use_cache = False
    loaded: PreTrainedModel = model.requires_grad_(False).eval()
    try:
        return loaded if "device_map" in options else loaded.to(device)
    except RuntimeError as error:  # as a GPU without room for it raises
        if ran_out(error):
            raise explained("model", name, error) from error
        raise


def load(
    model: Model, *, device: torch.device | None = None, attn_implementation: str | None = None
) -> PreTrainedModel:
    """`load_model` by settings; `device` is the one that was picked before, if any was."""
    options: dict[str, Any] = {"revision": model.revision, "trust_remote_code": model.runs_code}
    device = pick_device(model.device) if device is None else device
    options |= {"adapter": model.adapter, "lora": model.lora, "quantise": model.quantise}
    options |= {"attn_implementation": attn_implementation}
    return load_model(model.name, dtype=model.dtype, device=device, **options)


@contextmanager
def loaded(model: Model) -> Iterator[Callable[[], PreTrainedModel]]:
    """A function that gives the model, loaded the first time; its memory is free when the block ends."""
    held: list[PreTrainedModel] = []

    def get() -> PreTrainedModel:
        if not held:
            held.append(load(model))
        return held[0]

    try:
        yield get
    finally:
        if held:
            held.clear()
            give_memory_back()


def give_memory_back() -> None:
    """Frees what no name holds any more: models are in cycles with what trains them or answers with them."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load_skeleton(model: Model) -> PreTrainedModel:
    """The model without its weights, on the meta device: layers and their shapes. Fails as `load_model` does."""
    with quiet():
        try:
            _, config = read_config(model.name, revision=model.revision, trust_remote_code=model.runs_code)
            return make_skeleton(config, model.runs_code)
        except LOADING_ERRORS as error:
            raise explained("model", model.name, error) from error


def read_config(name: str, *, revision: str | None, trust_remote_code: bool) -> tuple[str, Any]:
    """Where the model is, and its configuration, which is a causal language model's."""
    path = resolve(name)
    if (Path(path) / "adapter_config.json").exists() and not (Path(path) / "config.json").exists():
        raise UserError(
            f"model {name} is an adapter", "name its base model as model.name and this directory as model.adapter"
        )
    if Path(path).is_dir() and not any(Path(path).glob("*.safetensors")):
        refuse_pickled("model", name, Path(path))
    check_weight_map(name, Path(path))
    config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    if (named := str(getattr(config, "transformers_weights", None) or "")).endswith(".bin"):
        raise pickled("model", name, named)
    if Path(named).name != named:
        raise UserError(f"model {name}: config.json names {quote(named)}, which is not beside it")
    check_kernels(name, config)
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise UserError(f"model {name} claims {layers:,} layers; at most {MOST_LAYERS:,} are built")
    if trust_remote_code and getattr(config, "auto_map", None):
        return path, config  # its classes are its own
    # transformers would load it as a causal model though it was trained as something else
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()}
    reads_source = auto_class(config) is AutoModelForImageTextToText and config.is_encoder_decoder
    if config.architectures and (reads_source or not known & set(config.architectures)):
        raise UserError(f"model {name} is a {config.architectures[0]}: a causal language model is needed")
    return path, config


def auto_class(config: Any) -> Any:
    """What loads a model as the class that it was saved as: one that also takes images keeps its names of weights."""
    as_text = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    with_images = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type)
    saved_as = config.architectures or [as_text]
    return AutoModelForImageTextToText if with_images in saved_as and as_text not in saved_as else AutoModelForCausalLM


def check_kernels(name: str, config: Any) -> None:
    """Refuses a configuration that names an implementation of the hub's: native code, which the name would fetch."""
    for each in (config, *(getattr(config, part, None) for part in config.sub_configs)):
        for key in ("_attn_implementation", "_experts_implementation"):
            if "/" in (named := str(getattr(each, key, None))):
                fix = f"remove {key.removeprefix('_')} from its config.json"
                raise UserError(f"model {name} asks for the code of {quote(named)}", fix)


def check_weight_map(name: str, directory: Path) -> None:
    """Refuses a list of shards that names files outside of the model's directory; whatever else is wrong with it is
    said when they are loaded."""
    for path in directory.glob("*.safetensors.index.json"):
        with suppress(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            for file in json.loads(path.read_bytes())["weight_map"].values():
                if Path(str(file)).name != file:
                    raise UserError(f"model {name}: {path.name} names {quote(file)}, which is not beside it")


def make_skeleton(config: Any, trust_remote_code: bool) -> PreTrainedModel:
    with torch.device("meta"):
        skeleton: PreTrainedModel = auto_class(config).from_config(config, trust_remote_code=trust_remote_code)
    return skeleton


def load_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model named as for `load_model`; like TRL's `DPOTrainer`, it pads with the end token if it has
    none for padding."""
    with quiet():
        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                resolve(name), revision=revision, trust_remote_code=trust_remote_code
            )
        except LOADING_ERRORS as error:
            raise explained("tokenizer of", name, error) from error
    if tokenizer.eos_token is None:
        raise UserError(f"tokenizer of {name} has no end token", "set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    read_plain_text(tokenizer)
    return tokenizer


def tokenizer_of(model: Model) -> PreTrainedTokenizerBase:
    """`load_tokenizer` by settings."""
    return load_tokenizer(model.name, revision=model.revision, trust_remote_code=model.runs_code)


def parse_dtype(dtype: torch.dtype | str) -> torch.dtype | str:
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    if dtype not in DTYPES:
        raise UserError(f"must be one of auto, {', '.join(DTYPES)}", key="model.dtype", value=repr(dtype))
    parsed: torch.dtype = getattr(torch, dtype)
    return parsed


def check_adapter(adapter: str) -> None:
    """Refuses what is not an adapter, one of which a module would be imported by name, and weights that are pickled."""
    directory = Path(adapter)
    try:
        settings = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        problem = f"adapter {adapter}: no adapter_config.json there"
        raise UserError(problem, "give a directory that PEFT saved") from error
    except (OSError, ValueError, RecursionError) as error:
        raise explained("adapter", adapter, error) from error
    peft_type = settings.get("peft_type") if isinstance(settings, dict) else None
    if peft_type != "LORA":
        raise UserError(f"adapter {adapter} is {quote(peft_type)}: only LoRA adapters are supported")
    if settings.get("megatron_config"):
        raise UserError(f"adapter {adapter} names a module to be imported", "save it without megatron_config")
    if not (directory / SAFE_ADAPTER).is_file():
        refuse_pickled("adapter", adapter, directory)


def refuse_pickled(kind: str, name: str, directory: Path) -> None:
    """Refuses a directory with pickled weights: to read a pickle is to run what it says."""
    for path in (path for pattern in PICKLED for path in directory.glob(pattern)):
        raise pickled(kind, name, path.name)


def pickled(kind: str, name: str, file: str) -> UserError:
    fix = "if you trust who made it, load it with transformers or PEFT and save it again with save_pretrained"
    return UserError(f"{kind} {name} has its weights in {file}, a pickle, and only safetensors are read", fix)


def with_adapter(model: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """The same model with the LoRA matrices of `adapter` next to its linear layers."""
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise UserError("an adapter needs PEFT: pip install 'congrad[lora]'") from error
    try:
        settings = PeftConfig.from_pretrained(adapter)
        with warnings.catch_warnings():  # PEFT 0.21 reads a property that transformers 5.23 deprecates
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted: PreTrainedModel = PeftModel.from_pretrained(model, adapter, config=settings).get_base_model()
    except LOADING_ERRORS as error:
        raise explained("adapter", adapter, error) from error
    return adapted


def explained(kind: str, name: str, error: Exception) -> UserError:
    """The one line a user needs instead of what transformers raised."""
    if ran_out(error):
        fix = "set model.dtype to bfloat16, quantise it with model.quantise, or take a smaller model"
        return UserError(f"out of memory while {kind} {name} is loaded", fix)
    message = str(error)
    if "with `safetensors`" in message:  # of a model of the hub
        return pickled(kind, name, "other files")
    if "trust_remote_code" in message:
        fix = f"read that code first; to run it, name the model in model.trust_remote_code: [{name}]"
        return UserError(f"{kind} {name} brings its own Python code", fix)
    if isinstance(error, OSError) and not Path(name).exists() and "gated" not in message:
        return UserError(
            f"{kind} {name}: no such directory, and the hub does not have it or cannot be reached",
            f"short names are {', '.join(PACKAGES)}",
        )
    if Path(name).is_dir() and not any((Path(name) / file).exists() for file in ("config.json", "adapter_config.json")):
        fix = "name the directory that a model was saved in"
        return UserError(f"{kind} {name} cannot be loaded: there is no config.json in that directory", fix)
    return UserError(f"{kind} {name} cannot be loaded: {one_line(message, 300) or type(error).__name__}")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and warnings of transformers, no news of the hub client's retries; all as before afterwards."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()
