"""The null simulations in small: 60 runs a cell, the rest of the command on fewer."""

import numpy as np
import pytest
from bench.null import CLEAN, NULL, POWER, Cell, blocks, cells, draw, main, measure, null_run, power_run

RUNS = 60
MOST = 0.05 + 2 * (0.05 * 0.95 / RUNS) ** 0.5  # of runs, where 5% are false alarms


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(("languages", "pairs"), [(2, 5), (2, 24), (13, 5), (13, 24)])
def test_on_pure_noise_nothing_is_found_and_the_mean_score_is_zero(languages, pairs, parallel):
    found = [null_run(Cell(NULL, languages, pairs, parallel), run) for run in range(RUNS)]
    assert np.mean([each["conflict"] for each in found]) <= MOST
    assert np.mean([each["any"] for each in found]) <= MOST
    score_R = np.array([each["score"] for each in found])
    assert abs(score_R.mean()) <= 3 * score_R.std(ddof=1) / RUNS**0.5


def test_translations_correlate_as_said():
    sketches, language_P, prompt_P = draw(Cell(NULL, 2, 4000, True), 0)
    one_PD, other_PD = sketches[language_P == 0], sketches[language_P == 1]
    assert prompt_P[:4000].tolist() == prompt_P[4000:].tolist()
    assert float((one_PD * other_PD).mean()) == pytest.approx(0.3, abs=0.01)
    assert float((one_PD**2).mean()) == pytest.approx(1, abs=0.01)


def test_the_planted_blocks():
    mean_LD, conflict_LL = blocks(Cell(POWER, 6, 48, False))
    unit_LD = mean_LD / mean_LD.norm(dim=1, keepdim=True)
    cosine_LL = (unit_LD @ unit_LD.T).numpy()
    assert conflict_LL.sum() == 9
    np.testing.assert_allclose(cosine_LL[conflict_LL], -0.5, atol=1e-6)


def test_the_test_finds_no_less_than_the_rule_that_it_replaced():
    """Each at a threshold that 5% of unrelated language pairs pass."""
    cell = Cell(POWER, 6, 48, False)
    found = [power_run(cell, run) for run in range(30)]
    of = {name: np.array([each[name] for each in found]) for name in found[0]}
    conflict_T = blocks(cell)[1][np.triu_indices(6, 1)]
    old, new = (
        (of[f"{rule} signal"][:, conflict_T] < np.quantile(of[f"{rule} noise"], 0.05)).mean() for rule in ("old", "new")
    )
    assert 0.4 < old < 0.9
    assert new > old - 0.08


def test_the_command_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    few = [Cell(NULL, 2, 5, True), Cell(POWER, 4, 8, False), Cell(CLEAN, 2, 12, False)]
    monkeypatch.setattr("bench.null.cells", lambda *sizes: few)
    arguments = ["--runs", "3", "--output", str(tmp_path)]
    main(arguments)
    table = capsys.readouterr().out
    assert "| the same | 2 | 5 |" in table
    assert "power of the old rule" in table
    assert "| clean | their own | 2 | 12 |" in table
    assert (tmp_path / "tables.md").read_text() in table
    monkeypatch.setattr("bench.null.null_run", None)
    monkeypatch.setattr("bench.null.power_run", None)
    monkeypatch.setattr("bench.null.advice_run", None)
    main(arguments)
    assert capsys.readouterr().out == table
    with pytest.raises(TypeError):
        measure(Cell(NULL, 2, 5, True), 4, tmp_path)


def test_all_cells_are_there():
    """Advice on all but 2 x 5 pairs in prompts of their own, and 5 prompts in all languages: too few to hold out."""
    assert len(cells([2, 13, 40], [5, 48, 200])) == 3 * 3 * 2 + 4 + 2 * (3 * 3 * 2 - 1 - 3)
