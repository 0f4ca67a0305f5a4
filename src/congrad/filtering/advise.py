"""From an index to the advice on it, as advice.json holds it; and the same for a run that exists.

Shapes: N input rows, P sketched pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from congrad.advice.advise import Advice, advise
from congrad.advice.budget import Floats
from congrad.advice.languages import LanguageAdvice, advise_on_languages
from congrad.advice.options import TITLES
from congrad.advice.sample import usable
from congrad.advice.verdict import judge
from congrad.errors import UserError
from congrad.files import without_nan, write_json
from congrad.filtering.advised import FILE
from congrad.filtering.advised_languages import languages_content
from congrad.filtering.directory import RUN
from congrad.filtering.finished import open_run, stored_config, stored_section, watch_place
from congrad.filtering.prompts import find_prompts
from congrad.filtering.rankings import Baseline, judge_margins, model_scores, of_index, resolve
from congrad.filtering.score import gradient_inputs, language_codes
from congrad.filtering.watch import WatchedIndex, open_watch
from congrad.gradients.index import GradientIndex, open_index
from congrad.preferences.load import read_preferences
from congrad.preferences.rows import Preferences
from congrad.progress import SILENT, Listener, Progress
from congrad.settings.advice import Advice as Settings
from congrad.settings.consensus import Consensus, Loss
from congrad.stage import alone

DIGITS = 6  # significant ones of a figure


def advise_index(
    index: GradientIndex,
    preferences: Preferences,
    prompt_N: torch.Tensor,
    loss: Loss,
    consensus: Consensus,
    settings: Settings,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    watch: WatchedIndex | None = None,
) -> dict[str, Any]:
    """What advice.json holds."""
    tokens_P2 = tokens(index)
    pairs: dict[str, Any] = {**gradient_inputs(index, loss, prompt_N), "settings": settings}
    watched = None if watch is None else watch.pairs(loss, prompt_N)
    found = advise(
        index,
        **pairs,
        length_N=tokens_P2[:, 0] - tokens_P2[:, 1],
        given=without_gradients(index, preferences, loss, consensus.seed),
        consensus=consensus,
        watch=watched,
        on_progress=on_progress,
    )
    of_languages = advise_on_languages(index, **pairs) if found.options else None
    watched_names = [] if watch is None else watch.languages
    left_out = 0 if watch is None or watched is None else len(watch.prompt_M) - int(usable(watched.factor_N).sum())
    return content(found, of_languages, language_codes(index)[0], watched_names, left_out)


def tokens(index: GradientIndex) -> Floats:
    """Of the chosen and the rejected response (P x 2)."""
    sides = [index.pairs[f"{side}_tokens"].to_numpy() for side in ("chosen", "rejected")]
    found_P2: Floats = np.stack(sides, axis=1)[index.positions_P.numpy()].astype(np.float64)
    return found_P2


def without_gradients(index: GradientIndex, preferences: Preferences, loss: Loss, seed: int) -> dict[str, Floats | str]:
    """The rankings of the baselines, as `filtering.baselines` has them, and two more; or what is missing (P each)."""
    position_P, tokens_P2, logps = index.positions_P.numpy(), tokens(index), of_index(index)
    has_reference = index.plan["reference"] is not None
    found: dict[str, Floats | str] = {"random": np.random.default_rng(seed).random(len(index.pairs))[position_P]}
    try:
        margin, _ = resolve(Baseline("reward-margin", loss=loss), preferences, has_reference=has_reference)
        by_judge = margin.reward == "judge"
        found["reward-margin"] = (
            judge_margins(preferences)[position_P] if by_judge else model_scores(margin, logps, tokens_P2)
        )
    except UserError as error:
        found["reward-margin"] = str(error)
    found["loss"] = model_scores(Baseline("loss", loss=loss), logps, tokens_P2)
    found["longest"] = tokens_P2[:, 0]
    gap = Baseline("reward-margin", reward="implicit" if has_reference else "likelihood", loss=loss)
    found["difficulty"] = -np.abs(model_scores(gap, logps, tokens_P2))
    return found


def content(
    advice: Advice,
    of_languages: LanguageAdvice | None,
    names: list[str],
    watched_names: Sequence[str] = (),
    watched_left_out: int = 0,
) -> dict[str, Any]:
    """advice.json, with figures rounded to what they can mean.

    Args:
        names, watched_names: of the languages, by code.
        watched_left_out: watched pairs without a gradient.
    """
    languages = [names[code] for code in advice.language_L]
    watched = [watched_names[each.code] for each in advice.watched]
    verdict = judge(advice, languages, of_languages, watched)
    chosen = {
        measure: {**asdict(found.choice), "share_by_fold": found.share_F, "gains": asdict(found.gains)}
        for measure, found in advice.chosen.items()
    }
    made = {
        **asdict(advice.budget),
        "num_pairs": advice.num_pairs,
        "total_pairs": advice.total_pairs,
        "num_prompts": advice.num_prompts,
        "num_folds": advice.num_folds,
        "languages": languages,
        "watched": watched,
        "watched_pairs": [each.num_pairs for each in advice.watched],
        "watched_left_out": watched_left_out,
        "verdict": asdict(verdict),
        "chosen": chosen,
        "options": [{"title": TITLES[option.ranking], **asdict(option)} for option in advice.options],
        "between_languages": of_languages and languages_content(of_languages, languages),
    }
    rounded: dict[str, Any] = without_nan(_rounded(made))
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def advise_run(run: Path, settings: Settings, listener: Listener = SILENT) -> dict[str, Any]:
    """The advice on a finished run, by its own loss and consensus, for another budget; replaces its advice.json.

    Raises:
        UserError: the run is unfinished, or its data has changed.
    """
    opened = open_run(run)
    config, index_path, manifest = stored_config(run)
    loss, consensus = stored_section(Loss, opened), stored_section(Consensus, opened)
    with alone(run, RUN):
        preferences = read_preferences(config.input, listener)
        if preferences.fingerprint != manifest["data_fingerprint"]:
            problem = f"{config.input.source} has changed since {run} was made"
            raise UserError(problem, "filter it again into another output directory")
        listener.on_stage("predicting")

        def on_progress(done: int, total: int) -> None:
            listener.on_progress(Progress("predicting", done, total, "pairs"))

        index = open_index(index_path)
        watch_path = watch_place(run, manifest)
        watch = None if watch_path is None else open_watch(watch_path, index, config)
        prompt_N, _ = find_prompts(preferences, index, config.input.columns.group)
        found = advise_index(index, preferences, prompt_N, loss, consensus, settings, on_progress, watch)
        write_json(run / FILE, found)
    return found
