"""The page on a run of the filter: what it shows, and the data behind it.

Shapes: N input rows, L languages, S rows that are shown with their texts.
"""

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from congrad.filtering.comparison import Array, LanguagePair, language_pairs, verdicts_in_words
from congrad.filtering.finished import ScoredRun
from congrad.filtering.stability import stability_in_words
from congrad.report import charts
from congrad.report.html import embed, render, to_bytes, typed
from congrad.report.order import similarity_order
from congrad.report.shown import Shown, choose
from congrad.report.summary import counted, exact_percent, refilter_command, summarise, unscored
from congrad.report.themes import THEMES
from congrad.selection.guards import too_few
from congrad.tables import visible
from congrad.words import human_bytes, human_time

MAX_BYTES = 5_700_000  # of a page that shows a sample of the pairs
MAX_LANGUAGE_PAIRS = 500  # in the table below the heatmap
SECTIONS = {name.lower(): name for name in ("Summary", "Conflicts", "Choose", "Changes", "Pairs", "Trust")}


def filter_page(run: ScoredRun) -> bytes:
    """The page of a filter's run; a `UserError` where kept.jsonl or dropped.jsonl cannot be read."""
    data = _data(run)
    frame = len(_render(run, data | {"shown": {}}, None))
    shown = choose(run, max_bytes=MAX_BYTES - frame, size_of=lambda text: len(to_bytes(embed(text))) + 1)
    return _render(run, data | {"shown": _shown(run, shown)}, shown)


def _render(run: ScoredRun, data: dict[str, Any], shown: Shown | None) -> bytes:
    manifest, config = run.manifest, run.manifest["config"]
    compared, pairs = run.compared, language_pairs(run.compared)
    few = too_few(compared.too_few, compared.min_pairs)  # which the summary's steps say in other words
    fidelity = manifest["fidelity"]
    fingerprints = {"data": manifest["data_fingerprint"]} | {
        key: manifest["plan"][key] for key in ("model", "reference")
    }
    return render(
        "filter.html",
        data,
        ["data.js", "theme.js", "filter.js", "pairs.js"],
        title=run.directory.name or str(run.directory),
        directory=visible(run.directory),
        sections=SECTIONS.items(),
        source=short(config["input"]["source"]),
        model=short(config["model"]["name"]),
        summary=summarise(run, pairs),
        warnings=[warning for warning in manifest["warnings"] if warning != few],
        language_pairs=pairs[:MAX_LANGUAGE_PAIRS],
        extremes=extremes(pairs),
        num_language_pairs=len(pairs),
        verdicts=verdicts_in_words(pairs),
        heatmaps=charts.HEATMAPS,
        has_surgery=bool(np.isfinite(compared.after_surgery_LL).any()),
        aggregator=config["consensus"]["aggregator"],
        sampled=shown is not None and shown.each is not None,
        shown_note="" if shown is None else _shown_note(run, shown),
        fidelity_note=_fidelity_note(fidelity),
        stability_note=_stability_note(manifest.get("stability", {})),
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
            ("half sketches, Spearman", _known(fidelity["half_size_spearman"])),
            ("full sketches, estimated", _known(fidelity["estimated_spearman"])),
        ],
        settings=[
            (f"{part}.{name}", _known(value))
            for part, values in {**config, "fingerprints": fingerprints}.items()
            for name, value in values.items()
        ],
    )


def _data(run: ScoredRun) -> dict[str, Any]:
    """All but the texts."""
    selection = run.manifest["config"]["selection"]
    if selection["min_score"] is not None:
        rule = {"kind": "score", "value": exact_percent(selection["min_score"] / 100)}
    else:
        rule = {"kind": selection["scope"] or "language", "value": exact_percent(selection["keep"])}
    low, width = bin_edges(run.score_N)
    compared = run.compared
    numbers_N = {"score": run.score_N, "language": run.language_N, "prompt": run.prompt_N}
    numbers_N |= {"chosen": run.chosen_N, "rejected": run.rejected_N}
    matrices_LL = {"cosine": compared.cosine_LL, "low": compared.low_LL, "high": compared.high_LL}
    matrices_LL |= {"corrected_low": compared.corrected_low_LL, "corrected_high": compared.corrected_high_LL}
    matrices_LL |= {"corrected": compared.corrected_LL, "after": compared.after_surgery_LL}
    return {
        "languages": run.languages,
        "order": similarity_order(compared.cosine_LL).tolist(),
        "rule": rule,
        "refilter": refilter_command(run.directory, run.manifest),
        "bins": [low, width, charts.NUM_BINS],
        "pairs": {name: typed(values_N) for name, values_N in numbers_N.items()},
        "agreement": {
            "num_pairs": compared.num_pairs_L.tolist(),
            **{name: np.round(matrix_LL, 4).tolist() for name, matrix_LL in matrices_LL.items()},
            "verdict": compared.verdict_LL.tolist(),
        },
        "charts": {
            "heatmap": charts.heatmap(limit=1, step=30),
            "distributions": charts.distributions(width=600),
            "lengths": charts.lengths(width=400),
        },
        "themes": THEMES,
    }


def short(name: str) -> str:
    """The end of an absolute path, which is shown in full among the settings."""
    path = Path(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() else name


def bin_edges(score_N: Array) -> tuple[float, float]:
    """Where the histograms' first bin begins, and how wide the bins are."""
    scored = score_N[~np.isnan(score_N)]
    low, high = (float(scored.min()), float(scored.max())) if len(scored) else (-1.0, 1.0)
    return low, max((high - low) / charts.NUM_BINS, 1e-6)


def extremes(lowest_first: list[LanguagePair]) -> list[tuple[str, list[LanguagePair]]]:
    """The language pairs beside the heatmap: the lowest cosines and the highest, none of them twice."""
    known = [pair for pair in lowest_first if pair.cosine == pair.cosine]
    low = known[:6]
    return [("Furthest apart", low), ("Closest", known[len(low) :][::-1][:6])]


def _known(value: Any) -> Any:
    return "–" if value is None else value


def _shown(run: ScoredRun, shown: Shown) -> dict[str, Any]:
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


def _shown_note(run: ScoredRun, shown: Shown) -> str:
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
        "Gradients are compressed, which blurs the ranking: fidelity is of that alone. Two independent halves of the "
        "sketches rank "
        f"{counted(fidelity['pairs'], 'pair')} with a Spearman correlation of {fidelity['half_size_spearman']}. For "
        f"the full sketches and uncompressed gradients that gives an estimate of {fidelity['estimated_spearman']:.2f}."
    )


def _stability_note(stability: dict[str, Any]) -> str:
    """The error of sampling; "" in a run of before it was measured."""
    text = stability_in_words(stability)
    return f"Which prompts there were matters, too: {text.removeprefix('stability: ')}." if text else ""
