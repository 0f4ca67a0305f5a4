"""The sections of the stages that make preference pairs of prompts: prompts, generate, judge, pair."""

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from congrad.settings.engine import Engine
from congrad.settings.input import Bounds, Columns, Input, Names
from congrad.settings.section import Count, PathText, Seed, differs, fields_of, refused, section

Temperature = Annotated[float, Ge(0)]
TopP = Annotated[float, Gt(0), Le(1)]
Chat = bool | Literal["auto"]


@section("prompts.columns")
class PromptColumns:
    """The names of the columns of prompts."""

    language: str | None = None
    """Column of a prompt's language, as input.columns.language."""
    prompt: str = "prompt"
    """Column of the prompts: text, or conversations that the model is to answer."""


@section("prompts")
class Prompts:
    """Where the prompts come from."""

    source: PathText | None = None
    """A file or folder of JSONL, Parquet or CSV, a saved dataset, or a hub id."""
    split: Names | None = None
    """Split to read, as input.split."""
    columns: PromptColumns = field(default_factory=PromptColumns)
    """The names of its columns."""
    limit: Count | None = None
    """Sample this many prompts, stratified by language; null for all."""
    seed: Seed = 0
    """Seed of the sample."""
    pairs: PathText | None = None
    """A preference dataset, for a run whose first round starts from pairs."""
    bounds: Bounds = field(default_factory=Bounds)
    """What prompts and pairs may ask of memory and time, as input.bounds."""

    def __post_init__(self) -> None:
        if self.source is None and self.pairs is None:
            raise refused("source", "is missing", "name a file or folder of prompts, or prompts.pairs")

    def read_as(self, source: str) -> Input:
        """How prompts or pairs are read."""
        return Input(
            source,
            split=self.split,
            columns=Columns(language=self.columns.language),
            limit=self.limit,
            seed=self.seed,
            bounds=self.bounds,
        )


@section("generate")
class Generate:
    """How answers are sampled."""

    samples: Count = 4
    """Answers to each prompt."""
    temperature: Temperature = 0.8
    """Sampling temperature; 0 takes the most probable token every time."""
    top_p: TopP = 0.95
    """Sample from the most probable tokens that together have this probability."""
    max_tokens: Count = 512
    """Longest answer, in tokens."""
    seed: Seed = 0
    """Seed of all samples; each sample's own seed follows from it."""
    chat: Chat = "auto"
    """Put prompts through the model's chat template; auto: where there is one. Without it, the model continues the
    prompt as plain text."""
    system: str | None = None
    """A system message for prompts that have none."""
    engine: Engine = field(default_factory=Engine)
    """The engine that answers."""

    def __post_init__(self) -> None:
        if self.temperature == 0 and self.samples > 1:
            problem, fix = "makes all samples of a prompt the same", "raise it, or set samples to 1"
            raise refused("temperature", problem, fix, value=0)
        if self.system is not None and not self.system.strip():
            raise refused("system", "is empty", "leave it out")
        if self.system is not None and self.chat is False:
            raise refused("system", "would be ignored", "set chat to true, or leave it out")


@section("judge")
class Judge:
    """How responses get their scores."""

    kind: Literal["llm", "implicit-reward"] = "llm"
    """llm asks a model with a rubric. implicit-reward asks no judge: it is the reward that DPO gave the round's model,
    beta (log pi(y|x) - log ref(y|x)) against the reference (arXiv 2305.18290, eq. 5)."""
    samples: Count = 3
    """Judgements of each response; its score is their mean."""
    temperature: Temperature = 0.7
    """Sampling temperature; 0 takes the most probable token every time."""
    top_p: TopP = 0.95
    """Sample from the most probable tokens that together have this probability."""
    max_tokens: Count = 512
    """Longest judgement, in tokens."""
    seed: Seed = 0
    """Seed of all judgements; each judgement's own seed follows from it."""
    chat: Chat = "auto"
    """Put the template through the judge's chat template; auto: where there is one."""
    template: PathText | None = None
    """A file of yours with `{prompt}`, `{response}` and perhaps `{language}`, which asks for a line `Score: N`, 0 to 5.
    Where it ends with `Score:` the judge only writes the number, and a max_tokens of 8 is enough. null: the packaged
    rubric. It asks a model with a chat template for its reasons first; to a model without one it shows examples."""
    engine: Engine | None = None
    """The engine that judges; null: generate.engine."""
    model: PathText | None = None
    """The model that judges; null: the round's own model, or the one that judge.engine.model names."""
    beta: Annotated[float, Gt(0)] = 0.1
    """Beta of the implicit reward."""

    def __post_init__(self) -> None:
        for name in fields_of(type(self)):
            used = name != "beta" if self.kind == "llm" else name in ("kind", "seed", "beta")
            if not used and differs(self, name):
                raise refused(name, f"would be ignored by a judge of kind {self.kind}", "leave it out")
        if self.temperature == 0 and self.samples > 1:
            problem, fix = "makes all judgements of a response the same", "raise it, or set samples to 1"
            raise refused("temperature", problem, fix, value=0)


PairMethod = Literal["best-worst", "all", "best-random"]


@section("pair")
class Pair:
    """How scored responses become pairs. Ties never do, and a response without a score is in no pair."""

    method: PairMethod = "best-worst"
    """best-worst: the best response against the worst. all: every two responses. best-random: the best against a random
    one of those that score more than min_margin below it. Of several best (or worst) the earliest sample is taken."""
    min_margin: Annotated[float, Ge(0)] = 0.0
    """Pairs whose ranking scores differ by this or less are left out."""
    language: Literal["off", "penalise", "drop"] = "off"
    """For a response in another language than its prompt's. off: do nothing. penalise: lower its ranking score. drop:
    leave it out of all pairs."""
    language_penalty: Annotated[float, Ge(0)] = 1.0
    """Points that penalise takes off."""
    length_control: Annotated[float, Ge(0)] = 0.0
    """Points that a response loses for each standard deviation that it is longer than the prompt's mean."""
    seed: Seed = 0
    """Seed of best-random."""

    def __post_init__(self) -> None:
        if self.language != "penalise" and self.language_penalty != 1:
            raise refused("language_penalty", "would be ignored", "leave it out, or set pair.language to penalise")
