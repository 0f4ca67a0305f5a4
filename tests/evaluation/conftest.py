"""Nothing in the home folder is read or filled; one thread, so that bytes may be compared."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="session")
def other_directory(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model a step further: as a round of training would leave it."""
    directory = tmp_path_factory.mktemp("models") / "other"
    model = AutoModelForCausalLM.from_pretrained(tiny_directory)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model.save_pretrained(directory)
    for path in tiny_directory.glob("tokenizer*"):
        (directory / path.name).write_bytes(path.read_bytes())
    return directory
