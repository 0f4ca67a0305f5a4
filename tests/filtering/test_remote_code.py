"""A model that nobody listed, which brings its own Python code: filtered by its own forward, where that is allowed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import congrad
from congrad import FilterConfig, Input, Model, PassSettings, UserError, filter_preferences
from congrad.gradients.index import open_index
from congrad.gradients.projection import count_sketch

CODE = '''
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class OddConfig(PreTrainedConfig):
    model_type = "odd"

    def __init__(self, vocab_size=8, width=16, **options):
        self.vocab_size, self.width = vocab_size, width
        super().__init__(**options)


class OddForCausalLM(PreTrainedModel):
    """No attention, no blocks: running means, and one matrix that is used at two places."""

    config_class = OddConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.width)
        self.mix = nn.Parameter(torch.zeros(config.width, config.width))
        self.inner = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self):
        return self.out

    def forward(self, input_ids, **options):
        hidden = self.table(input_ids)
        hidden = hidden.cumsum(1) / torch.arange(1, hidden.shape[1] + 1)[None, :, None]
        for number in range(2):
            hidden = hidden + torch.tanh(self.inner(hidden) @ self.mix.T) / (1 + number)
        return CausalLMOutput(logits=self.out(hidden))
'''
CLASSES = {"AutoConfig": "odd.OddConfig", "AutoModelForCausalLM": "odd.OddForCausalLM"}
WIDTH, SIZE = 16, 16


@pytest.fixture
def folder(tmp_path, tiny_directory) -> Path:
    """A model's folder with its code, a tokenizer and random weights."""
    path = tmp_path / "odd"
    path.mkdir()
    tokenizer = congrad.load_tokenizer(str(tiny_directory))
    tokenizer.save_pretrained(path)
    (path / "odd.py").write_text(CODE)
    shape = {"vocab_size": len(tokenizer), "width": WIDTH, "bos_token_id": 0, "eos_token_id": 1}
    named = {"model_type": "odd", "architectures": ["OddForCausalLM"], "auto_map": CLASSES}
    (path / "config.json").write_text(json.dumps(shape | named))
    shapes = {"table.weight": (len(tokenizer), WIDTH), "out.weight": (len(tokenizer), WIDTH)}
    shapes |= {
        "mix": (WIDTH, WIDTH),
        "inner.weight": (WIDTH, WIDTH),
        "inner.bias": (WIDTH,),
        "out.bias": shapes["out.weight"][:1],
    }
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) * 0.5 for name, shape in shapes.items()}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


@pytest.fixture
def config(tmp_path, make_rows, folder) -> FilterConfig:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in make_rows(12)))
    return FilterConfig(
        Input(str(path)),
        Model(str(folder), dtype="float32", trust_remote_code=True),
        PassSettings(projection_size=SIZE),
    )


def sketch_by_autograd(model, pairs, i: int) -> torch.Tensor:
    """P G Q^T summed over both matrices, with nothing of ours in the forward."""
    weights = [model.inner.weight.requires_grad_(True), model.mix.requires_grad_(True)]
    difference = torch.zeros(())
    for ids, sign in ((pairs.chosen_ids[i], 1), (pairs.rejected_ids[i], -1)):
        prompt, response = torch.from_numpy(pairs.prompt_ids[i]).long(), torch.from_numpy(ids).long()
        logp_TV = model(torch.cat([prompt, response])[None]).logits[0].log_softmax(-1)
        difference = difference + sign * logp_TV[len(prompt) - 1 : -1].gather(1, response[:, None]).sum()
    total = torch.zeros(SIZE, SIZE)
    for names, gradient in zip(
        (("inner", "/16"), ("mix.0", "mix/16")), torch.autograd.grad(difference, weights), strict=True
    ):
        left, right = (
            count_sketch(name, side, WIDTH, SIZE, 0, torch.device("cpu")).matrix()
            for name, side in zip(names, ("left", "right"), strict=True)
        )
        total += left.T @ gradient @ right
    return total.flatten()


def test_it_is_filtered_exactly(config, folder, tmp_path):
    result = filter_preferences(config, tmp_path / "run")
    assert result.manifest["plan"]["settings"]["route"] == "general"
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
    tokenizer = congrad.load_tokenizer(str(folder))
    pairs = congrad.tokenise(congrad.load_preferences(config.input.source), tokenizer)
    index = open_index(tmp_path / "run" / "index")
    assert len(index) == len(pairs) == 12
    found = index[:].float() * index.scales_P[:, None]
    for i in range(len(pairs)):
        expected = sketch_by_autograd(model, pairs, i)
        assert (found[i] - expected).norm() / expected.norm() < 1e-3  # stored in float16


def test_without_permission_it_is_refused(config, tmp_path):
    config = replace(config, model=replace(config.model, trust_remote_code=False))
    with pytest.raises(UserError, match="brings its own Python code; read that code first") as raised:
        filter_preferences(config, tmp_path / "run")
    assert "\n" not in str(raised.value)
