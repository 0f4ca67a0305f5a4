"""The section `evaluate`: what every model of a run is measured on.

Errors begin with the YAML key; those of a list's entry with the entry's own keys, as it does not know its place.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from congrad.engines import Engine
from congrad.errors import UserError
from congrad.selfreward.prompts import Prompts

Kind = Literal["perplexity", "multiple-choice", "exact-match"]
Layout = Literal["xcopa", "mgsm"]
KIND_OF_LAYOUT: dict[str, Kind] = {"xcopa": "multiple-choice", "mgsm": "exact-match"}
COLUMNS_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "perplexity": ("text_column",),
    "multiple-choice": ("prompt", "choices", "label_column"),
    "exact-match": ("prompt", "answer_column", "rule", "max_tokens", "stop"),
}
PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class LocalTask:
    """A task of the alignment tax that reads JSON Lines and needs no hub.

    Attributes:
        name: in the table.
        kind: `perplexity` of a text; `multiple-choice` by the likelihood of the choices; `exact-match` of an answer
            that is written greedily.
        path: a file, a folder of them, or a pattern with `*` (`tasks/xcopa_*.jsonl`).
        layout: `xcopa` or `mgsm`: all columns as those datasets have them, instead of naming them.
        language_column: groups the rows. Rows without it are of the language that the file is named by: `sw.jsonl`, or
            what follows the last underscore, `xcopa_sw.jsonl`.
        text_column: of perplexity.
        prompt: what the model goes on with; `{column}` stands for a column's text.
        choices: columns that hold a choice each, or one column that holds a list of them.
        label_column: position (from 0) of the right choice.
        answer_column: of exact match.
        rule: compare the last number that the model wrote, or all of its `text` without the white space around it.
        max_tokens: of an answer.
        stop: an answer ends before any of these.
        chat: put prompts through the chat template; `auto`: where there is one. Of exact match only: likelihoods are
            of plain text.
        limit: rows of each language, the first ones.
    """

    name: str
    path: str
    kind: Kind | None = None
    layout: Layout | None = None
    language_column: str = "language"
    text_column: str = "text"
    prompt: str | None = None
    choices: tuple[str, ...] = ()
    label_column: str = "label"
    answer_column: str = "answer"
    rule: Literal["last-number", "text"] = "last-number"
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    chat: bool | Literal["auto"] = "auto"
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UserError("name is empty; the table needs one")
        if self.layout is not None:
            self._check_layout(self.layout)
        kind = _choose("kind", self.kind, get_args(Kind))
        _choose("rule", self.rule, ("last-number", "text"))
        for other, columns in COLUMNS_OF_KIND.items():
            for name in columns:
                if name not in COLUMNS_OF_KIND[kind] and getattr(self, name) != self._default(name):
                    raise UserError(f"{name}: a task of kind {kind} has no use for it ({other} has); leave it out")
        if kind != "exact-match" and self.chat != "auto":
            raise UserError(f"chat: a task of kind {kind} measures plain text; leave it out")
        if kind != "perplexity" and self.layout is None and not PLACEHOLDER.search(self.prompt or ""):
            raise UserError("prompt is missing or names no column; write for instance '{question}\\nAnswer:'")
        if kind == "multiple-choice" and self.layout is None and not self.choices:
            raise UserError("choices is missing; name a column for each choice, or one that lists them")
        if self.max_tokens < 1:
            raise UserError(f"max_tokens {self.max_tokens}: must be 1 or more")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit {self.limit}: must be 1 or more")

    def _check_layout(self, layout: str) -> None:
        kind = KIND_OF_LAYOUT[_choose("layout", layout, tuple(KIND_OF_LAYOUT))]
        if self.kind not in (None, kind):
            raise UserError(f"kind {self.kind}: the layout {layout} is {kind}; leave the kind out")
        object.__setattr__(self, "kind", kind)
        for name in ("choices", "label_column", "answer_column", "text_column", *(["prompt"] * (layout == "xcopa"))):
            if getattr(self, name) != self._default(name):
                raise UserError(f"{name}: the layout {layout} knows its columns; leave one of the two out")

    @classmethod
    def _default(cls, name: str) -> Any:
        return cls.__dataclass_fields__[name].default


@dataclass(frozen=True)
class Harness:
    """Tasks of lm-evaluation-harness (extra `eval`), each by the settings that it brings but for these.

    Attributes:
        tasks: names of tasks, groups or tags. Their data come from the hub unless their YAML says otherwise.
        num_fewshot: examples in the prompt; None is the task's own.
        limit: rows of each task.
        batch_size: requests at a time.
        chat: put prompts through the chat template.
        include_path: a folder of task YAMLs of your own. They may run Python: read them first.
    """

    tasks: tuple[str, ...]
    num_fewshot: int | None = None
    limit: int | None = None
    batch_size: int = 8
    chat: bool = False
    include_path: str | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UserError("evaluate.lm_eval.tasks is empty; name tasks, or leave evaluate.lm_eval out")
        for name, least in (("num_fewshot", 0), ("limit", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"evaluate.lm_eval.{name} {value}: must be {least} or more")


@dataclass(frozen=True)
class WinRate:
    """Answers to held-out prompts, compared by a judge in both orders.

    Attributes:
        prompts: as in the section of that name; `limit` is how many are answered.
        temperature: of the answers; 0 takes the most probable token every time.
        top_p: of the answers.
        max_tokens: of an answer.
        seed: of the answers and the verdicts.
        chat: put prompts through the chat template; `auto`: where there is one.
        system: a system message for prompts that bring none.
        judge: the engine of the judge; None is `evaluate.engine`.
        judge_model: a directory, hub id or short name; None is M0. One judge compares all models.
        judge_max_tokens: of a verdict with its reasons.
        template: a file that replaces the judge's prompt; see `congrad/evaluation/judge_pair.txt`.
    """

    prompts: Prompts
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    chat: bool | Literal["auto"] = "auto"
    system: str | None = None
    judge: Engine | None = None
    judge_model: str | None = None
    judge_max_tokens: int = 512
    template: str | None = None

    def __post_init__(self) -> None:
        if self.prompts.source is None:
            raise UserError("evaluate.win_rate.prompts.source is missing; name a file or folder of held-out prompts")
        for name in ("max_tokens", "judge_max_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"evaluate.win_rate.{name} {getattr(self, name)}: must be 1 or more")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"evaluate.win_rate.temperature {self.temperature}: must be 0 or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"evaluate.win_rate.top_p {self.top_p}: must be more than 0, and 1 at most")


@dataclass(frozen=True)
class Evaluate:
    """What is measured. Every part may be left out.

    Attributes:
        seen, unseen: languages that were trained on, and that were not: a mean in the table for each. With neither, all
            are taken as seen.
        pairs: held-out preference pairs, for preference accuracy; anything that `congrad filter` reads.
        split, language_column, chat, max_length: of `pairs`, as for `congrad filter`.
        limit: a sample of so many pairs, stratified by language.
        win_rate: None for no win rate.
        tasks: local tasks, for the alignment tax.
        lm_eval: tasks of lm-evaluation-harness, for the alignment tax.
        engine: writes the answers for win rates and exact match.
        seed: of samples and bootstrap draws.
        draws: how often the examples are drawn anew for an interval.
        confidence: of the intervals.
    """

    seen: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    pairs: str | None = None
    split: str = "train"
    language_column: str = "language"
    chat: bool = False
    max_length: int = 1024
    limit: int | None = None
    win_rate: WinRate | None = None
    tasks: tuple[LocalTask, ...] = ()
    lm_eval: Harness | None = None
    engine: Engine = field(default_factory=Engine)
    seed: int = 0
    draws: int = 2000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if both := sorted({*self.seen} & {*self.unseen}):
            raise UserError(f"evaluate.unseen names {both[0]!r}, which evaluate.seen names too; take it out of one")
        for name, least in (("limit", 1), ("max_length", 2), ("draws", 100)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"evaluate.{name} {value}: must be {least} or more")
        if not 0.5 <= self.confidence < 1:
            raise UserError(f"evaluate.confidence {self.confidence}: must be 0.5 or more and below 1")
        names = [task.name for task in self.tasks]
        if self.lm_eval is not None:
            names += self.lm_eval.tasks
        for number, name in enumerate(names):
            if name in names[:number]:
                raise UserError(f"evaluate.tasks: two are named {name!r}; give each a name of its own")

    @property
    def measures_nothing(self) -> bool:
        return self.pairs is None and self.win_rate is None and not self.tasks and self.lm_eval is None


def _choose(key: str, value: Any, choices: Sequence[Any]) -> Any:
    if value not in choices:
        told = "is missing" if value is None else repr(value)
        raise UserError(f"{key} {told}: choose from {', '.join(choices)}")
    return value
