"""`auto` takes the first accelerator that computes what the CPU computes."""

import pytest
import torch

from congrad.errors import UserError
from congrad.models import device as devices
from congrad.models.device import by_autograd, difference_from_cpu, pick_device, tiny_model

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Accelerators that are there, and what each is said to do wrong."""
    difference_from_cpu.cache_clear()

    def build(found: dict[str, str | None]) -> None:
        monkeypatch.setattr(devices, "is_available", found.__contains__)
        monkeypatch.setattr(devices, "difference_from_cpu", lambda device, compute: found[device.type])
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.xpu, "device_count", lambda: 1)

    yield build
    difference_from_cpu.cache_clear()


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({}, "cpu"),
        ({"cuda": None, "mps": None}, "cuda:0"),
        ({"xpu": None, "mps": None}, "xpu:0"),
        ({"mps": None}, "mps"),
        ({"cuda": "it is wrong", "xpu": None}, "xpu:0"),
        ({"mps": "it is wrong"}, "cpu"),
    ],
)
def test_the_first_that_agrees(machine, found, wanted):
    machine(found)
    told: list[str] = []
    assert pick_device("auto", on_note=told.append) == torch.device(wanted)
    assert told == [
        f"{'cuda:0' if kind == 'cuda' else kind} is not used, though PyTorch finds it: it is wrong"
        for kind in found
        if found[kind]
    ]


def test_a_launcher_s_process_takes_its_own(machine, monkeypatch):
    machine({"cuda": None})
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("gpu", "model.device gpu: must be auto, cpu, cuda, cuda:1, xpu or mps"),
        ("meta", "model.device meta: must be auto, cpu, cuda, cuda:1, xpu or mps"),
        ("cuda:5", "model.device cuda:5: is not there: PyTorch finds 2 CUDA devices; use cpu"),
        ("mps", "model.device mps: is not there: PyTorch finds 0 MPS devices; use cpu"),
        ("xpu", "model.device xpu: it is wrong; use cpu"),
    ],
)
def test_a_named_device_that_cannot_be_used(machine, name, complaint):
    machine({"cuda": None, "xpu": "it is wrong"})
    with pytest.raises(UserError) as error:
        pick_device(name)
    assert str(error.value) == complaint


def test_named_devices(machine):
    machine({"cuda": None})
    assert pick_device("cpu") == CPU
    assert pick_device("cuda:1") == torch.device("cuda:1")


# The check


def test_the_cpu_agrees_with_itself():
    assert difference_from_cpu(CPU, by_autograd) is None


def test_log_probabilities_are_those_of_the_definition():
    model = tiny_model()
    logps, gradient = by_autograd(model)
    ids = torch.tensor([[*devices.PROMPT, *devices.CHOSEN]])
    table = model(input_ids=ids).logits[0].log_softmax(-1)
    start = len(devices.PROMPT) - 1
    expected = sum(table[start + place, token].item() for place, token in enumerate(devices.CHOSEN))
    assert logps[0].item() == pytest.approx(expected, rel=1e-5)
    assert gradient.norm() > 0.1


@pytest.mark.parametrize(
    ("which", "factor", "words"),
    [
        (0, 1.02, "log-probabilities differ from the CPU's by 2%"),
        (1, 0.5, "gradients differ from the CPU's by 50%"),
        (1, float("nan"), "gradients differ from the CPU's by nan%"),
        (1, 1.001, None),
    ],
)
def test_a_device_that_computes_wrongly_is_found_out(which, factor, words):
    calls: list[int] = []

    def compute(model):
        found = list(by_autograd(model))
        if calls:  # on the device
            found[which] = found[which] * factor
        calls.append(1)
        return tuple(found)

    said = difference_from_cpu(CPU, compute)
    assert said is None if words is None else words in str(said)


def test_a_device_that_fails_is_said_in_one_line():
    calls: list[int] = []

    def compute(model):
        if calls:
            raise RuntimeError("no kernel\nfor this")
        calls.append(1)
        return by_autograd(model)

    assert difference_from_cpu(CPU, compute) == "it fails on one short pair (no kernel for this)"


def test_the_check_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, second = (torch.cat([p.flatten() for p in tiny_model().parameters()]) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
