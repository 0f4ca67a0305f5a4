"""`congrad filter`: preference pairs in, a run directory out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer.core import TyperCommand

from congrad.cli.options import KeyValues, argument, option
from congrad.errors import UserError

if TYPE_CHECKING:
    from congrad.filtering.conclude import FilterResult
    from congrad.settings.advice import Advice
    from congrad.settings.consensus import Loss
    from congrad.settings.read import Given
    from congrad.settings.tree import FilterConfig

MOVED_FLAGS = {
    "--aggregator": "consensus.aggregator",
    "--accumulate": "consensus.accumulate",
    "--beta": "loss.beta",
    "--chat": "input.chat",
    "--cross-fit": "consensus.cross_fit",
    "--ema-batch": "consensus.ema_batch",
    "--ema-decay": "consensus.ema_decay",
    "--help-all": "congrad settings",
    "--keep-scope": "selection.scope",
    "--label-smoothing": "loss.label_smoothing",
    "--layers": "index.layers",
    "--length-penalty": "loss.length_penalty",
    "--loss": "loss.name",
    "--max-length": "input.max_length",
    "--no-report": "report.write",
    "--normalise": "index.normalise",
    "--projection-size": "index.projection_size",
    "--seed": "index.seed, consensus.seed or input.seed",
    "--split": "input.split",
    "--target-margin": "loss.target_margin",
    "--token-budget": "index.token_budget",
    "--trust-remote-code": "model.trust_remote_code",
}
"""Flags of earlier versions that became keys."""


class FilterCommand(TyperCommand):
    """Answers a flag of earlier versions with its key."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for word in args:
            if (key := MOVED_FLAGS.get(word.partition("=")[0])) is not None:
                example = key if " " in key else f"{key}=VALUE"
                raise UserError(f"{word.partition('=')[0]} is not a flag any more", f"write {example}")
        return list(super().parse_args(ctx, args))


OF_THE_INDEX = ("input", "model", "index", "advice.watch")  # would be ignored on a run, which has its index


def filter_command(
    source: Annotated[str | None, argument("Pairs (a path, a hub id), or a run.", "DATA|RUN")] = None,
    words: KeyValues = None,
    model: Annotated[str | None, option("Path, hub id, gemma3-270m or smollm2-135m.", "--model", "-m")] = None,
    output: Annotated[Path | None, option("Directory of the run. [runs/NAME of the data]", "--output", "-o")] = None,
    keep: Annotated[str | None, option("Share of the pairs to keep, or auto. [0.5]", metavar="SHARE")] = None,
    min_score: Annotated[str | None, option("Keep all from this score on.", metavar="SCORE")] = None,
    language_column: Annotated[str | None, option("Column that groups the pairs. [language]", metavar="NAME")] = None,
    limit: Annotated[str | None, option("Sample this many, by language.", metavar="COUNT")] = None,
    watch: Annotated[str | None, option("Pairs not trained on: what filtering does to them.", metavar="DATA")] = None,
    dtype: Annotated[str | None, option("auto, float32, bfloat16, float16.")] = None,
    device: Annotated[str | None, option("auto, cpu, cuda, cuda:1, xpu, mps.")] = None,
    adapter: Annotated[str | None, option("LoRA adapter: the gradient space.")] = None,
    reference: Annotated[str | None, option("Reference model. [the policy]")] = None,
    revision: Annotated[str | None, option("Revision of a hub model.")] = None,
    config: Annotated[Path | None, option("YAML file with settings.", "--config", "-c", metavar="FILE")] = None,
    format: Annotated[str | None, option("Export too; see congrad export.", "--format", "-f", metavar="NAME")] = None,
    dry_run: Annotated[bool, option("Show the estimate only.", "--dry-run")] = False,
    quiet: Annotated[bool, option("Show the result only.", "--quiet", "-q")] = False,
) -> None:
    """Keep the pairs whose gradient points where the languages agree. All keys: congrad settings.

    \bcongrad filter pairs/ --model gemma3-270m --output runs/x index.seed=1
    congrad filter runs/x --keep 0.3
    """
    from congrad.settings.read import is_override, read

    keys: list[str] = list(words or [])
    if source is not None and is_override(source):
        source, keys = None, [str(source), *keys]
    flags = {
        "input.source": ("DATA", source),
        "model.name": ("--model", model),
        "selection.keep": ("--keep", keep),
        "selection.min_score": ("--min-score", min_score),
        "input.columns.language": ("--language-column", language_column),
        "input.limit": ("--limit", limit),
        "advice.watch": ("--watch", watch),
        "model.dtype": ("--dtype", dtype),
        "model.device": ("--device", device),
        "model.adapter": ("--adapter", adapter),
        "model.reference": ("--reference", reference),
        "model.revision": ("--revision", revision),
    }
    given = read(config, keys, flags)
    with given.spelled():
        run_filter(given, output, format=format, dry_run=dry_run, quiet=quiet)


def run_filter(given: "Given", output: Path | None, *, format: str | None, dry_run: bool, quiet: bool) -> None:
    """Filters data, or a run that has its index."""
    from congrad.filtering.directory import is_run
    from congrad.filtering.run import filter_preferences, refilter
    from congrad.models.ranks import is_first
    from congrad.report.display import display
    from congrad.settings.consensus import Consensus
    from congrad.settings.input import Bounds
    from congrad.settings.selection import Selection
    from congrad.settings.tree import Report

    if format is not None:
        from congrad.exports.layouts import check_format

        check_format(format)
    if not given.says("input.source"):
        raise UserError("is missing", "name the pairs, or a run", key="input.source")
    source = Path(given.section_values("input")["source"])
    with display(quiet=quiet) as showing:
        if is_run(source):
            for note in check_for_run(given, source, dry_run=dry_run):
                showing.listener.on_note(note)
            if not is_first():
                return
            result = refilter(
                source,
                loss=loss_of(given),
                consensus=given.section(Consensus),
                selection=given.section(Selection),
                advice=advice_of(given),
                bounds=given.section(Bounds),
                output=output,
                listener=showing.listener,
            )
        else:
            if not given.says("model.name"):
                problem = f"is missing: {source} is not a finished run, so a model is needed to compute gradients"
                raise UserError(problem, "give --model", key="model.name")
            output = output or Path("runs") / name_of(source)
            filtered = filter_preferences(filter_config(given), output, dry_run=dry_run, listener=showing.listener)
            if filtered is None:
                return
            result = filtered
    show_filtered(result, format, quiet=quiet, report=given.section(Report).write)


def name_of(source: Path) -> str:
    """The name of the data in its run's: of `.` and `..` that of the folder which it is."""
    return (source.resolve() if source.name in ("", "..") else source).stem or "run"


def check_for_run(given: "Given", run: Path, *, dry_run: bool) -> list[str]:
    """What of a file's settings a run does not read, since it has its index; on the command line it is a mistake."""
    problem = f"would be ignored: {run} is a run and has its index already"
    fix = "leave it out, or name the data instead of the run"
    own = (key for key in given.leaves() if key != "input.source" and not key.startswith("input.bounds."))
    ignored = [key for key in own if key in OF_THE_INDEX or key.split(".")[0] in OF_THE_INDEX]
    for key in ignored:
        if not given.is_from_file(key):
            raise UserError(problem, fix, key=key)
    if dry_run:
        raise UserError(f"--dry-run {problem}", fix)
    return [f"{', '.join(ignored)} of {given.file} are not read: {run} has its index already"] if ignored else []


def loss_of(given: "Given") -> "Loss":
    """The loss; with a file of the loop's, that of its training."""
    from congrad.settings.consensus import Loss
    from congrad.settings.training import Rounds
    from congrad.training.loss import preference_loss

    if given.says("loss") or not (given.says("train") or given.says("rounds")):
        return given.section(Loss)
    return preference_loss(given.section_values("train"), given.section(Rounds))


def advice_of(given: "Given") -> "Advice":
    """What the advice is for; with a file of the loop's, its training."""
    from congrad.settings.advice import Advice
    from congrad.training.loss import BUDGET, advice

    advised = given.section(Advice)
    if not given.says("train") or any(given.says(f"advice.{name}") for name in BUDGET):
        return advised
    return advice(given.section_values("train"), advised)


def filter_config(given: "Given") -> "FilterConfig":
    """The configuration of the filter; with a file of the loop's, loss and length are those of its training."""
    from dataclasses import replace

    from congrad.settings.tree import FilterConfig
    from congrad.training.loss import max_length, normalise

    wanted, train = given.sections(FilterConfig), given.section_values("train")
    wanted = replace(wanted, advice=advice_of(given))
    if not given.says("loss"):
        wanted = replace(wanted, loss=loss_of(given))
        if not given.says("index.normalise"):
            wanted = replace(wanted, index=replace(wanted.index, normalise=normalise(wanted.loss)))
    if not given.says("input.max_length") and "max_length" in train:
        wanted = replace(wanted, input=replace(wanted.input, max_length=max_length(train)))
    return wanted


def show_filtered(result: "FilterResult", format: str | None, *, quiet: bool, report: bool) -> None:
    """The result on the screen, the page, the export, and what an earlier selection left."""
    from congrad.cli.export import show_exported
    from congrad.exports.export import export_run, stale_exports
    from congrad.report.display import say
    from congrad.report.screen import show_report, show_result

    show_result(result, quiet=quiet)
    if report:
        show_report(result.output, quiet=quiet)
    if format is not None:
        show_exported(export_run(result.output, format), result.output)
    for directory in stale_exports(result.output):
        say(
            f"congrad: {directory} holds the pairs of an earlier selection; "
            f"congrad export {result.output} --format {directory.name} writes it again"
        )
