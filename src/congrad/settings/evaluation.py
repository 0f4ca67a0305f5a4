"""The section `evaluate`: what every model of a run is measured on."""

import re
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.settings.input import Bounds, Columns, Input, Names
from congrad.settings.section import Count, PathText, Seed, differs, refused, section
from congrad.settings.selfreward import Chat, Prompts, Temperature, TopP

Kind = Literal["perplexity", "multiple-choice", "exact-match"]
KIND_OF_LAYOUT: dict[str, Kind] = {"xcopa": "multiple-choice", "mgsm": "exact-match"}
COLUMNS_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "perplexity": ("text_column",),
    "multiple-choice": ("prompt", "choices", "label_column"),
    "exact-match": ("prompt", "answer_column", "rule", "max_tokens", "stop"),
}
PLACEHOLDER = re.compile(r"\{(\w+)\}")


@section("evaluate.tasks")
class LocalTask:
    """A task of the alignment tax that reads JSON Lines and needs no hub."""

    name: str
    """Its name in the table."""
    path: PathText
    """A file, a folder of them, or a pattern with `*` (`tasks/xcopa_*.jsonl`)."""
    kind: Kind | None = None
    """perplexity of a text; multiple-choice by the likelihood of the choices; exact-match of an answer that is written
    greedily."""
    layout: Literal["xcopa", "mgsm"] | None = None
    """All columns as those datasets have them, instead of naming them."""
    language_column: str = "language"
    """Column of a row's language. Rows without it take the language from the file's name: `sw.jsonl`, or what follows
    the last underscore, `xcopa_sw.jsonl`."""
    text_column: str = "text"
    """Column of the text; for perplexity."""
    prompt: str | None = None
    """The prompt; `{column}` stands for a column's text."""
    choices: tuple[str, ...] = ()
    """Columns that hold a choice each, or one column that holds a list of them."""
    label_column: str = "label"
    """Column of the right choice's position, from 0."""
    answer_column: str = "answer"
    """Column of the right answer; for exact match."""
    rule: Literal["last-number", "text"] = "last-number"
    """Compare the last number that the model wrote, or all of its text without the white space around it."""
    max_tokens: Count = 256
    """Longest answer, in tokens."""
    stop: tuple[str, ...] = ()
    """An answer ends before any of these."""
    chat: Chat = "auto"
    """Put prompts through the chat template; auto: where there is one. For exact match only: likelihoods are of plain
    text."""
    limit: Count | None = None
    """Rows of each language, the first ones; null for all."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise refused("name", "is empty", "give it a name")
        if self.layout is not None:
            self._settle_kind(self.layout)
        kind = self.kind
        if kind is None:
            raise refused("kind", "is missing", f"choose from {', '.join(COLUMNS_OF_KIND)}")
        for other, columns in COLUMNS_OF_KIND.items():
            for name in columns:
                if name not in COLUMNS_OF_KIND[kind] and differs(self, name):
                    fix = f"leave it out; it belongs to {other}"
                    raise refused(name, f"would be ignored by a task of kind {kind}", fix)
        if kind != "exact-match" and self.chat != "auto":
            raise refused("chat", f"would be ignored: a task of kind {kind} measures plain text", "leave it out")
        if kind != "perplexity" and self.layout is None and not PLACEHOLDER.search(self.prompt or ""):
            raise refused("prompt", "is missing or names no column", "write for instance '{question}\\nAnswer:'")
        if kind == "multiple-choice" and self.layout is None and not self.choices:
            raise refused("choices", "is missing", "name a column for each choice, or one column that lists them")

    def _settle_kind(self, layout: str) -> None:
        kind = KIND_OF_LAYOUT[layout]
        if self.kind not in (None, kind):
            raise refused("kind", f"must be {kind} with the layout {layout}", "leave it out", value=self.kind)
        object.__setattr__(self, "kind", kind)
        for name in ("choices", "label_column", "answer_column", "text_column", *(["prompt"] * (layout == "xcopa"))):
            if differs(self, name):
                problem = f"would be ignored: the layout {layout} sets its columns"
                raise refused(name, problem, "leave one of the two out")


@section("evaluate.lm_eval")
class Harness:
    """Tasks of lm-evaluation-harness (extra `eval`), each with its own settings except for these."""

    tasks: tuple[str, ...]
    """Names of tasks, groups or tags. Their data come from the hub unless their YAML says otherwise."""
    num_fewshot: Annotated[int, Ge(0)] | None = None
    """Examples in the prompt; null: the task's own number."""
    limit: Count | None = None
    """Rows of each task; null for all."""
    batch_size: Count = 8
    """Requests at a time."""
    chat: bool = False
    """Put prompts through the chat template."""
    include_path: PathText | None = None
    """A folder of task YAMLs of your own. They may run Python: read them first."""

    def __post_init__(self) -> None:
        if not self.tasks:
            raise refused("tasks", "is empty", "name tasks, or leave evaluate.lm_eval out")


@section("evaluate.win_rate")
class WinRate:
    """Answers to held-out prompts, compared by a judge in both orders."""

    prompts: Prompts
    """Keys as in the section prompts; limit is how many prompts are answered."""
    temperature: Temperature = 0.0
    """Sampling temperature of the answers; 0 takes the most probable token every time."""
    top_p: TopP = 1.0
    """Sample the answers from the most probable tokens that together have this probability."""
    max_tokens: Count = 512
    """Longest answer, in tokens."""
    seed: Seed = 0
    """Seed of the answers and the verdicts."""
    chat: Chat = "auto"
    """Put prompts through the chat template; auto: where there is one."""
    system: str | None = None
    """A system message for prompts that have none."""
    judge: Engine | None = None
    """The engine of the judge; null: evaluate.engine."""
    judge_model: PathText | None = None
    """A directory, hub id or short name; null: M0. One judge compares all models."""
    judge_max_tokens: Count = 512
    """Longest verdict with its reasons, in tokens."""
    template: PathText | None = None
    """A file that replaces the judge's prompt; see `congrad/evaluation/judge_pair.txt`."""

    def __post_init__(self) -> None:
        if self.prompts.source is None:
            raise refused("prompts.source", "is missing", "name a file or folder of held-out prompts")


@section("evaluate")
class Evaluate:
    """What is measured. Every part may be left out."""

    seen: tuple[str, ...] = ()
    """Languages that were trained on: a mean in the table. With neither seen nor unseen, all are taken as seen."""
    unseen: tuple[str, ...] = ()
    """Languages that were not trained on: another mean."""
    pairs: PathText | None = None
    """Held-out preference pairs, for preference accuracy; anything that `congrad filter` reads."""
    split: Names | None = None
    """Split of evaluate.pairs, as input.split."""
    columns: Columns = field(default_factory=Columns)
    """Columns of evaluate.pairs, as input.columns."""
    chat: bool = False
    """Chat template for evaluate.pairs, as input.chat."""
    max_length: Annotated[int, Ge(2)] = 1024
    """Longest pair of evaluate.pairs, as input.max_length."""
    limit: Count | None = None
    """Sample this many pairs, stratified by language; null for all."""
    win_rate: WinRate | None = None
    """Answers to held-out prompts, compared by a judge; null for none."""
    tasks: tuple[LocalTask, ...] = ()
    """Local tasks, for the alignment tax."""
    lm_eval: Harness | None = None
    """Tasks of lm-evaluation-harness, for the alignment tax."""
    engine: Engine = field(default_factory=Engine)
    """Writes the answers for win rates and exact match."""
    bounds: Bounds = field(default_factory=Bounds)
    """What evaluate.pairs and the files of the tasks may ask of memory and time, as input.bounds."""
    seed: Seed = 0
    """Seed of samples and bootstrap draws."""
    draws: Annotated[int, Ge(100)] = 2000
    """Bootstrap draws of the examples for an interval."""
    confidence: Annotated[float, Ge(0.5), Lt(1)] = 0.95
    """Confidence of the intervals."""

    def __post_init__(self) -> None:
        if both := sorted({*self.seen} & {*self.unseen}):
            problem = f"names {both[0]!r}, which evaluate.seen names too"
            raise refused("unseen", problem, "remove it from one of the two")
        names = [*(task.name for task in self.tasks), *(self.lm_eval.tasks if self.lm_eval is not None else ())]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise refused("tasks", f"holds two tasks that are named {name!r}", "give each a name of its own")

    @property
    def held_out(self) -> Input:
        """`pairs`, as the filter would read them."""
        assert self.pairs is not None
        return Input(
            self.pairs,
            split=self.split,
            columns=self.columns,
            chat=self.chat,
            max_length=self.max_length,
            limit=self.limit,
            seed=self.seed,
            bounds=self.bounds,
        )

    @property
    def engines(self) -> dict[str, Engine]:
        """All engines that are named, by their keys."""
        judge = None if self.win_rate is None else self.win_rate.judge
        return {"evaluate.engine": self.engine} | ({} if judge is None else {"evaluate.win_rate.judge": judge})

    def check(self) -> None:
        """Refuses, by a `UserError`, to measure nothing."""
        if self.measures_nothing:
            raise UserError("measures nothing", "set its pairs, win_rate, tasks or lm_eval", key="evaluate")

    @property
    def measures_nothing(self) -> bool:
        return self.pairs is None and self.win_rate is None and not self.tasks and self.lm_eval is None
