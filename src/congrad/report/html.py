"""report.html: one file with its style, its scripts, the plotting library and the data, which opens offline.

What comes from the dataset is untrusted. Jinja escapes it where it is markup's text; the rest is JSON in a block that
is no script, and the page's own code makes text nodes of it. A content security policy allows the scripts and the
style that are in the file, by their hashes, and nothing else: no other script, no eval, no request.
"""

import base64
import hashlib
import importlib.metadata
import json
import shlex
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from congrad.files import without_nan, write_atomically
from congrad.report import charts
from congrad.report.agreement import Couple, conflicts, couples, similarity_order
from congrad.report.command import refilter_command
from congrad.report.read import Array, Run, read_run
from congrad.report.screen import human_bytes, human_time
from congrad.report.shown import Shown, choose
from congrad.report.summary import counted, exact_percent, summarise, unscored
from congrad.selection import MIN_PAIRS

NAME = "report.html"
MAX_BYTES = 5_700_000  # of a page that shows a sample of the pairs
FEW = f"fewer than {MIN_PAIRS} pairs"  # the warning that the summary's steps say in other words
MAX_COUPLES = 500  # in the table below the heatmap
LIBRARY = "vega.js"
SECTIONS = {
    "summary": "Summary",
    "conflicts": "Conflicts",
    "choose": "Choose",
    "changes": "Changes",
    "pairs": "Pairs",
    "trust": "Trust",
}


def visible(text: object) -> str:
    """Control characters as their pictures (U+2400 and on), which cannot hide or change what stands beside them."""
    return "".join(
        chr(0x2400 + ord(character)) if ord(character) < 32 and character not in "\n\t" else character
        for character in str(text)
    ).replace("\x7f", "\u2421")


def embed(value: Any) -> Markup:
    """JSON that cannot leave a script element, whatever its strings hold."""
    text = json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def typed(values: Array) -> dict[str, str]:
    """Numbers as the bytes of a typed array; non-negative integers in the fewest bits."""
    if values.dtype.kind in "iu":
        largest = int(values.max(initial=0))
        values = values.astype(next(kind for kind in ("u1", "<u2", "<u4") if largest <= np.iinfo(kind).max))
    else:
        values = values.astype("<f4")
    return {"type": values.dtype.name, "base64": base64.b64encode(values.tobytes()).decode()}


@cache
def asset(name: str) -> str:
    return files("congrad.report").joinpath("page", name).read_text(encoding="utf-8")


def policy(css: str, scripts: list[str]) -> str:
    """The content security policy under which these run and nothing else does."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {' '.join(map(hashed, scripts))}; style-src {hashed(css)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def render(template: str, data: dict[str, Any], own_scripts: list[str], **context: Any) -> bytes:
    """A page from its template: `own_scripts` run as one, after the plotting library."""
    environment = Environment(
        loader=PackageLoader("congrad.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    css = asset("page.css")
    scripts = [asset(LIBRARY), "\n".join(asset(name) for name in own_scripts)]
    html = environment.get_template(template).render(
        **context,
        policy=policy(css, scripts),
        css=Markup(css),
        scripts=[Markup(script) for script in scripts],
        data=embed(data),
        version=importlib.metadata.version("congrad"),
    )
    return _bytes(html)


def _bytes(text: str) -> bytes:
    """A lone surrogate, which UTF-8 has no bytes for, becomes an escape of JSON's."""
    return text.encode("utf-8", "backslashreplace")


def filter_page(run: Run) -> bytes:
    """The page of a filter's run.

    Raises:
        UserError: kept.jsonl or dropped.jsonl cannot be read.
    """
    data = _data(run)
    frame = len(_render(run, data | {"shown": {}}, None))
    shown = choose(run, max_bytes=MAX_BYTES - frame, size_of=lambda text: len(_bytes(embed(text))) + 1)
    return _render(run, data | {"shown": _shown(run, shown)}, shown)


def _render(run: Run, data: dict[str, Any], shown: Shown | None) -> bytes:
    manifest, config = run.manifest, run.manifest["config"]
    pairs = couples(run)
    fidelity = manifest["fidelity"]
    settings = {name: config[name] for name in config} | {"fingerprints": _fingerprints(manifest)}
    return render(
        "filter.html",
        data,
        ["data.js", "theme.js", "filter.js", "pairs.js"],
        title=run.directory.name or str(run.directory),
        directory=visible(run.directory),
        sections=SECTIONS.items(),
        source=config["input"]["source"],
        model=config["model"]["name"],
        summary=summarise(run, pairs),
        warnings=[warning for warning in manifest["warnings"] if not warning.startswith(FEW)],
        min_pairs=MIN_PAIRS,
        couples=pairs[:MAX_COUPLES],
        extremes=extremes(pairs),
        num_couples=len(pairs),
        heatmaps=charts.HEATMAPS,
        has_surgery=bool(np.isfinite(run.after_surgery_LL).any()),
        aggregator=config["consensus"]["aggregator"],
        sampled=shown is not None and shown.each is not None,
        shown_note="" if shown is None else _shown_note(run, shown),
        fidelity_note=_fidelity_note(fidelity),
        unscored=unscored(run),
        command=shlex.join(manifest["command"]),
        seeds=[(name, config[name]["seed"]) for name in ("input", "index", "consensus")],
        versions=manifest["versions"].items(),
        costs=[
            *((f"time, {name}", human_time(seconds)) for name, seconds in manifest["seconds"].items()),
            ("peak memory", human_bytes(manifest["peak_memory_bytes"])),
        ],
        fidelity=[
            ("pairs compared", fidelity["pairs"]),
            ("halves alike", _known(fidelity["half_size_spearman"])),
            ("the whole, estimated", _known(fidelity["estimated_spearman"])),
        ],
        settings=[
            (f"{part}.{name}", _known(value)) for part, values in settings.items() for name, value in values.items()
        ],
    )


def _data(run: Run) -> dict[str, Any]:
    """All but the texts."""
    selection = run.manifest["config"]["selection"]
    if selection["min_score"] is not None:
        rule = {"kind": "score", "value": exact_percent(selection["min_score"] / 100)}
    else:
        rule = {"kind": selection["scope"] or "language", "value": exact_percent(selection["keep"])}
    low, width = bin_edges(run.score_N)
    conflict_LL = conflicts(run)
    order = similarity_order(run.cosine_LL)
    return {
        "languages": run.languages,
        "order": order.tolist(),
        "rule": rule,
        "refilter": refilter_command(run.directory, run.manifest),
        "bins": [low, width, charts.NUM_BINS],
        "pairs": {
            "score": typed(run.score_N),
            "language": typed(run.language_N),
            "prompt": typed(run.prompt_N),
            "chosen": typed(run.chosen_N),
            "rejected": typed(run.rejected_N),
        },
        "agreement": {
            "num_pairs": run.num_pairs_L.tolist(),
            "cosine": _rounded(run.cosine_LL),
            "low": _rounded(run.low_LL),
            "high": _rounded(run.high_LL),
            "corrected": _rounded(run.corrected_LL),
            "after": _rounded(run.after_surgery_LL),
            "conflict": np.argwhere(conflict_LL).tolist(),
        },
        "charts": {
            "heatmap": charts.heatmap(limit=1, step=30, numbers=True),
            "distributions": charts.distributions(width=600),
            "lengths": charts.lengths(width=400),
        },
        "themes": charts.THEMES,
    }


def bin_edges(score_N: Array) -> tuple[float, float]:
    """Where the histograms' first bin begins, and how wide the bins are."""
    scored = score_N[~np.isnan(score_N)]
    low, high = (float(scored.min()), float(scored.max())) if len(scored) else (-1.0, 1.0)
    return low, max((high - low) / charts.NUM_BINS, 1e-6)


def extremes(lowest_first: list[Couple]) -> list[tuple[str, list[Couple]]]:
    """The couples beside the heatmap: the lowest cosines and the highest, none of them twice."""
    known = [couple for couple in lowest_first if couple.cosine == couple.cosine]
    low = known[:6]
    return [("Furthest apart", low), ("Closest", known[len(low) :][::-1][:6])]


def _known(value: Any) -> Any:
    return "–" if value is None else value


def _rounded(matrix: Array) -> Any:
    return np.round(matrix, 4).tolist()


def _shown(run: Run, shown: Shown) -> dict[str, Any]:
    position_S = shown.position_S
    missing_S = np.flatnonzero(np.isnan(run.score_N[position_S]))
    return {
        "position": typed(position_S),
        "row": typed(run.row_N[position_S]),
        "kind": typed(shown.kind_S),
        "cosine": typed(run.cosine_NL[position_S].ravel()),
        "unscored": {int(s): run.reason_N[position_S[s]] for s in missing_S},
        "texts": shown.texts,
        "each": shown.each,
    }


def _shown_note(run: Run, shown: Shown) -> str:
    if shown.each is None:
        return f"All {counted(len(run), 'pair')}. Choose a prompt to read the whole pair."
    return (
        f"{len(shown.texts):,} of {counted(len(run), 'pair')}: of each language the {shown.each} most aligned, the "
        f"{shown.each} least aligned and {shown.each} drawn at random, so that this page stays small. The plots and "
        "the counts above hold all pairs. Choose a prompt to read the whole pair."
    )


def _fidelity_note(fidelity: dict[str, Any]) -> str:
    if fidelity["estimated_spearman"] is None:
        return "There are too few pairs to estimate how much the compression of gradients blurs the ranking."
    return (
        f"Gradients are compressed, which blurs the ranking. Two independent halves of the sketches rank "
        f"{counted(fidelity['pairs'], 'pair')} alike with a Spearman correlation of {fidelity['half_size_spearman']}; "
        f"the whole then ranks them as uncompressed gradients do with about {fidelity['estimated_spearman']:.2f}."
    )


def _fingerprints(manifest: dict[str, Any]) -> dict[str, Any]:
    plan = manifest["plan"]
    return {"data": manifest["data_fingerprint"], "model": plan["model"], "reference": plan["reference"]}


def write_report(directory: str | Path, output: str | Path | None = None) -> Path:
    """Writes the report of a run and returns its path.

    Args:
        directory: of a finished run of the filter.
        output: of the page; None for report.html in the run.

    Raises:
        UserError: the run is unfinished or damaged, or the place cannot be written.
    """
    directory = Path(directory)
    path = directory / NAME if output is None else Path(output)
    write_atomically(path, filter_page(read_run(directory)))
    return path
