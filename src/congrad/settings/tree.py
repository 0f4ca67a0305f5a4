"""The tree of all settings: which sections there are, and which of them the filter and the loop read.

The filter reads input, model, index, loss, consensus, selection, advice and report. The loop reads all but input and
loss: what it filters is what `prompts` says, and what it scores and predicts is what `train` and `rounds` train, whose
budget is not read from advice either.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, get_args

from congrad.settings.advice import Advice
from congrad.settings.consensus import Consensus, Loss
from congrad.settings.engine import Engine
from congrad.settings.evaluation import Evaluate
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.section import fields_of, refused, section
from congrad.settings.selection import Selection
from congrad.settings.selfreward import Generate, Judge, Pair, PairMethod, Prompts
from congrad.settings.training import Rounds

Method = Literal["none", "random", "reward-margin", "loss", "congrad"]
METHODS: tuple[Method, ...] = get_args(Method)
"""The baselines that every result needs (`congrad.filtering.baselines`), and the method; in the evaluation's order."""


@section("filter")
class Filter:
    """Which filters a run compares."""

    methods: tuple[Method, ...] = ("congrad",)
    """Any of none, random, reward-margin, loss, congrad. Each is an arm of its own, whose rounds continue from its own
    models."""
    pairings: tuple[PairMethod, ...] = ()
    """Other ways of pairing than pair.method, any of best-worst, all, best-random: what is predicted for each of them
    is shown before the round is trained. Pairs that pair.method does not make cost a gradient each."""

    def __post_init__(self) -> None:
        if not self.methods:
            raise refused("methods", "is empty", f"choose from {', '.join(METHODS)}")
        for key, names in (("methods", self.methods), ("pairings", self.pairings)):
            if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
                raise refused(key, f"names {twice} twice", "name it once")


@section("report")
class Report:
    """The page."""

    write: bool = True
    """Write report.html when a filter or a run has ended."""


@section("")
class FilterConfig:
    """All that decides a run of the filter."""

    input: Input
    model: Model
    index: PassSettings = field(default_factory=PassSettings)
    loss: Loss = field(default_factory=Loss)
    consensus: Consensus = field(default_factory=Consensus)
    selection: Selection = field(default_factory=Selection)
    advice: Advice = field(default_factory=Advice)

    def check(self) -> None:
        """Refuses, before anything is loaded, a loss that does not fit the normalisation of the pass, and a model whose
        weights have no gradient."""
        self.model.check_for_filter()
        self.loss.check_index(per_token=self.index.normalise == "mean")


@section("")
class RunConfig:
    """All that decides a run of the loop. Only `model` and `prompts` have no default."""

    model: Model
    """M0."""
    prompts: Prompts
    generate: Generate = field(default_factory=Generate)
    judge: Judge = field(default_factory=Judge)
    pair: Pair = field(default_factory=Pair)
    filter: Filter = field(default_factory=Filter)
    index: PassSettings = field(default_factory=PassSettings)
    consensus: Consensus = field(default_factory=Consensus)
    selection: Selection = field(default_factory=Selection)
    advice: Advice = field(default_factory=Advice)
    train: dict[str, Any] = field(default_factory=dict)
    """Names and values of TRL's DPOConfig."""
    rounds: Rounds = field(default_factory=Rounds)
    evaluate: Evaluate = field(default_factory=Evaluate)
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        if self.filter.methods != ("congrad",):
            if self.selection.min_score is not None:
                fix = "with other methods give selection.keep"
                raise refused("selection.min_score", "is for the scores of congrad only", fix)
            if self.selection.keep == "auto":
                fix = "with other methods give a share"
                raise refused("selection.keep", "is chosen for congrad only", fix, value="auto")

        if self.filter.pairings:
            if "congrad" not in self.filter.methods:
                raise refused("filter.pairings", "needs gradients", "add congrad to filter.methods, or leave it out")
            if self.prompts.source is None:
                raise refused("filter.pairings", "has no answers to pair", "set prompts.source, or leave it out")
            if self.pair.method in self.filter.pairings:
                problem = f"names {self.pair.method}, which is pair.method"
                raise refused("filter.pairings", problem, "name the others")

    @property
    def engines(self) -> dict[str, Engine]:
        """All engines that are named, by their keys."""
        named = {"generate.engine": self.generate.engine, "judge.engine": self.judge.engine}
        return {key: engine for key, engine in named.items() if engine is not None} | self.evaluate.engines


SECTIONS: Mapping[str, Any] = {
    name: dict if name == "train" else fields_of(kind)[name].annotation
    for kind in (FilterConfig, RunConfig)
    for name in fields_of(kind)
}
"""The tree: every section by its key. `train` is TRL's, a mapping that passes untouched to its `DPOConfig`."""

MOVED: Mapping[str, str] = {
    **{f"filter.{key}": f"selection.{key}" for key in ("keep", "min_score")},
    "filter.keep_scope": "selection.scope",
    **{
        f"filter.{key}": f"consensus.{key}"
        for key in ("aggregator", "accumulate", "ema_decay", "ema_batch", "cross_fit")
    },
    **{f"filter.{key}": f"index.{key}" for key in ("projection_size", "layers", "token_budget")},
    "filter.seed": "index.seed (projections) and consensus.seed (folds, orders, the draw of random)",
    "prompts.language_column": "prompts.columns.language",
    "prompts.prompt_column": "prompts.columns.prompt",
    "evaluate.language_column": "evaluate.columns.language",
    "input.language_column": "input.columns.language",
}
"""Keys of earlier versions, and what they are now."""

FROM_ELSEWHERE: Mapping[str, str] = {
    "input.source": "prompts.pairs, for a run that starts from pairs",
    **{f"input.{key}": f"prompts.{key}" for key in ("split", "columns", "limit", "seed", "bounds")},
    "input.max_length": "train.max_length",
    "input": "prompts.pairs",
    "loss.name": "train.loss_type",
    "loss.beta": "train.beta",
    "loss.length_penalty": "rounds.length_penalty",
    "loss.label_smoothing": "train.label_smoothing",
    "loss": "train.loss_type",
    "index.normalise": "train.loss_type",
    "advice.epochs": "train.num_train_epochs",
    "advice.batch_size": "train.per_device_train_batch_size",
    "advice.steps": "train.max_steps",
    "advice.watch": "evaluate.pairs",
}
"""Keys that a loop takes from another section, the more exact ones first."""
