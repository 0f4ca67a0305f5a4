"""`congrad filter`: preference pairs in, a run directory out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from congrad.cli.options import help_all, option
from congrad.errors import UserError

if TYPE_CHECKING:
    from congrad.filtering.conclude import FilterResult

INPUT, PASS, CONSENSUS, SELECTION, OUTPUT = "Input", "Gradient pass", "Consensus", "Selection", "Output"
# Settings of an index: on a run that has one they would be ignored, so they are refused there.
INDEX_OPTIONS = (
    *("split", "language_column", "chat", "max_length", "limit", "dry_run"),
    *("model", "dtype", "device", "adapter", "reference", "revision", "trust_remote_code"),
    *("projection_size", "layers", "normalise", "token_budget"),
)


def filter_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Pairs (a path, a hub id), or a run.",
            metavar="DATA|RUN",
            show_default=False,
        ),
    ],
    model: Annotated[str | None, option(None, "Path, hub id, gemma3-270m or smollm2-135m.", "--model", "-m")] = None,
    output: Annotated[
        Path | None, option(None, "Directory of the run. [runs/NAME of the data]", "--output", "-o")
    ] = None,
    keep: Annotated[float | None, option(None, "Share of the pairs to keep. [0.5]")] = None,
    limit: Annotated[int | None, option(None, "Sample so many, stratified by language.")] = None,
    format: Annotated[str | None, option(None, "Export for a trainer, see congrad export.", "--format", "-f")] = None,
    dry_run: Annotated[bool, option(None, "Stop at the estimate of time, memory and disk.", "--dry-run")] = False,
    quiet: Annotated[bool, option(None, "Show the result only.", "--quiet", "-q")] = False,
    no_report: Annotated[bool, option(OUTPUT, "Leave report.html out.", "--no-report")] = False,
    help_all: Annotated[bool, help_all()] = False,
    language_column: Annotated[str | None, option(INPUT, "Column that groups the pairs. [language]")] = None,
    split: Annotated[str | None, option(INPUT, "Split to read. [train]")] = None,
    chat: Annotated[bool | None, option(INPUT, "Put plain rows through the chat template.", "--chat")] = None,
    max_length: Annotated[int | None, option(INPUT, "Tokens of prompt and response together. [1024]")] = None,
    dtype: Annotated[str | None, option(PASS, "auto, float32, bfloat16 or float16. [auto: the faster here]")] = None,
    device: Annotated[str | None, option(PASS, "auto, cpu, cuda, cuda:1, xpu or mps. [auto]")] = None,
    adapter: Annotated[str | None, option(PASS, "LoRA adapter; its matrices are the gradient space.")] = None,
    reference: Annotated[str | None, option(PASS, "Reference model, where the policy is not its own.")] = None,
    layers: Annotated[str | None, option(PASS, "Decoder blocks: upper, or a slice such as 12: [all]")] = None,
    normalise: Annotated[str | None, option(PASS, "sum, or mean for the losses ipo and simpo. [sum]")] = None,
    projection_size: Annotated[
        int | None, option(PASS, "A gradient becomes size x size. [256; 128 from 20,000 pairs]")
    ] = None,
    token_budget: Annotated[int | None, option(PASS, "Tokens in one pass. [512 on a CPU, 16384 on a GPU]")] = None,
    revision: Annotated[str | None, option(PASS, "Revision of a hub model.")] = None,
    trust_remote_code: Annotated[
        bool | None, option(PASS, "Run Python that comes with the model.", "--trust-remote-code")
    ] = None,
    aggregator: Annotated[
        str | None,
        option(CONSENSUS, "pcgrad or mean; upgrad, mgda, cagrad, gradvac, aligned-mtl with torchjd. [pcgrad]"),
    ] = None,
    loss: Annotated[str | None, option(CONSENSUS, "dpo, lp-dpo, hinge, robust; ipo, simpo. [dpo]")] = None,
    beta: Annotated[float | None, option(CONSENSUS, "Of the loss. [0.1]")] = None,
    length_penalty: Annotated[float | None, option(CONSENSUS, "Alpha of lp-dpo, per token.")] = None,
    label_smoothing: Annotated[float | None, option(CONSENSUS, "Share of flipped labels, of robust.")] = None,
    target_margin: Annotated[float | None, option(CONSENSUS, "Gamma of simpo. [0.5]")] = None,
    accumulate: Annotated[str | None, option(CONSENSUS, "Language gradients: mean or ema. [mean]")] = None,
    ema_decay: Annotated[float | None, option(CONSENSUS, "Of ema. [0.9]")] = None,
    ema_batch: Annotated[int | None, option(CONSENSUS, "Pairs of a mini-batch of ema. [8]")] = None,
    cross_fit: Annotated[int | None, option(CONSENSUS, "Folds; 0: a pair takes part in its own consensus. [5]")] = None,
    seed: Annotated[int | None, option(CONSENSUS, "Of sample, projections, folds and orders. [0]")] = None,
    keep_scope: Annotated[str | None, option(SELECTION, "The share of every language, or global. [language]")] = None,
    min_score: Annotated[
        float | None, option(SELECTION, "Keep all pairs from this score on, instead of a share.")
    ] = None,
) -> None:
    """Keep the pairs whose gradient points where the languages agree.

    \bcongrad filter pairs/ --model gemma3-270m --output runs/x --keep 0.5
    congrad filter runs/x --keep 0.3
    """
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    run_filter(given)


def run_filter(given: dict[str, Any]) -> None:
    """Turns the options that were given into a configuration, and filters."""
    from congrad.consensus.settings import Consensus, Loss
    from congrad.filtering.directory import is_run
    from congrad.filtering.run import filter_preferences, refilter
    from congrad.filtering.settings import FilterConfig, Input
    from congrad.gradients.settings import PassSettings
    from congrad.models.ranks import is_first
    from congrad.models.settings import Model
    from congrad.report.display import display
    from congrad.selection.settings import Selection

    def pick(*names: str, **renamed: str) -> dict[str, Any]:
        wanted = {name: name for name in names} | renamed
        return {field: given[option] for field, option in wanted.items() if option in given}

    if "format" in given:
        from congrad.exports.layouts import check_format

        check_format(given["format"])
    loss = Loss(**pick("beta", "length_penalty", "label_smoothing", "target_margin", name="loss"))
    consensus = Consensus(**pick("aggregator", "accumulate", "ema_decay", "ema_batch", "cross_fit", "seed"))
    rule = pick("keep", "min_score", scope="keep_scope")
    selection = Selection(**(rule if "min_score" in rule else {"keep": 0.5} | rule))
    source, quiet = given["source"], "quiet" in given
    with display(quiet=quiet) as showing:
        if is_run(Path(source)):
            ignored = [name for name in INDEX_OPTIONS if name in given]
            if ignored:
                flag = "--" + ignored[0].replace("_", "-")
                raise UserError(
                    f"{source} is a run and has its index already, so {flag} would be ignored: leave it out, or name "
                    "the data instead of the run"
                )
            if not is_first():
                return
            result = refilter(
                source,
                loss=loss,
                consensus=consensus,
                selection=selection,
                output=given.get("output"),
                listener=showing.listener,
            )
        else:
            if "model" not in given:
                raise UserError(f"{source} is no finished run, so --model is needed to compute gradients")
            config = FilterConfig(
                input=Input(source, **pick("split", "language_column", "chat", "max_length", "limit", "seed")),
                model=Model(
                    given["model"],
                    **pick("dtype", "device", "adapter", "reference", "revision", "trust_remote_code"),
                ),
                index=PassSettings(**pick("projection_size", "seed", "layers", "normalise", "token_budget")),
                loss=loss,
                consensus=consensus,
                selection=selection,
            )
            output = given.get("output", Path("runs") / (Path(source).stem or "run"))
            filtered = filter_preferences(config, output, dry_run="dry_run" in given, listener=showing.listener)
            if filtered is None:
                return
            result = filtered
    show_filtered(result, given.get("format"), quiet=quiet, report="no_report" not in given)


def show_filtered(result: "FilterResult", format: str | None, *, quiet: bool, report: bool) -> None:
    """The result on the screen, the page, the export, and what an earlier selection left."""
    from congrad.exports.export import export_run, stale_exports
    from congrad.report.screen import show_report, show_result

    show_result(result, quiet=quiet)
    if report:
        show_report(result.output, quiet=quiet)
    if format is not None:
        exported = export_run(result.output, format)
        print(f"{exported.num_pairs} pairs for {exported.format} in {exported.directory}")
    for directory in stale_exports(result.output):
        print(
            f"congrad: {directory} holds the pairs of an earlier selection; "
            f"congrad export {result.output} --format {directory.name} writes it anew",
            file=sys.stderr,
        )
