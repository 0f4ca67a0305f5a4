"""Forty languages of which it is known which conflict: the pairs, the figures, and the command on a tiny model."""

import json
import re

import numpy as np
import pytest
import torch

pytest.importorskip("babel")

from bench.evidence.page import page
from bench.known_truth import __main__ as program
from bench.known_truth.measure import (
    Pairs,
    adjusted_rand,
    by_signs,
    conflicts,
    divisions,
    filters,
    steps,
    transfers,
    turned,
)
from bench.known_truth.pairs import COMMA, LANGUAGES, NAMES, POINT, SIGNS, decimal_sign, language_rows


def test_languages_with_another_sign_choose_what_the_others_reject():
    assert len(COMMA.split()) == len(POINT.split()) == 20
    rows = {language: list(language_rows(language, 36, 0)) for language in LANGUAGES}
    for language, own in rows.items():
        sign = "," if language in COMMA.split() else "."
        assert decimal_sign(language) == sign
        assert len({row["prompt"] for row in own}) == len(own) == 72, "no prompt comes twice"
        for row in own:
            assert row["chosen"] != row["rejected"]
            if row["kind"] == SIGNS:
                signs = [re.findall(r"([,.])\d+(?=\D*$)", row[side])[0] for side in ("chosen", "rejected")]
                assert signs == [sign, "." if sign == "," else ","]
    questions = [[row["prompt"].partition(": ")[2] for row in own] for own in rows.values()]
    assert all(each == questions[0] for each in questions), "the same prompts in all languages"
    chosen = {row["chosen"] for row in rows["de"] if row["kind"] == SIGNS}
    rejected = {row["rejected"] for row in rows["en"] if row["kind"] == SIGNS}
    assert len(chosen & rejected) > 10
    assert [row["kind"] for row in rows["de"][:2]] == [SIGNS, NAMES]


def test_the_adjusted_rand_index():
    # Table [[2, 0], [1, 2]]: 2 pairs together in both, 4 in the one, 4 in the other, of 10; expected 1.6, at most 4.
    assert adjusted_rand([0, 0, 1, 1, 1], [0, 0, 0, 1, 1]) == pytest.approx((2 - 1.6) / (4 - 1.6))
    assert adjusted_rand([0, 0, 1, 1], [7, 7, 3, 3]) == 1
    assert adjusted_rand([0, 1, 0, 1], [0, 0, 1, 1]) == pytest.approx(-0.5)


def test_turning_keeps_all_inner_products():
    generator = torch.Generator().manual_seed(0)
    sketch_PD, factor_P = torch.randn(12, 40, generator=generator), torch.randn(12, generator=generator).double()
    gradient_PD = sketch_PD.double() * factor_P[:, None]
    found_PD = turned(sketch_PD.half(), factor_P).double()
    assert found_PD.shape == (12, 12)
    products_PP = found_PD @ found_PD.T
    expected_PP = gradient_PD @ gradient_PD.T
    scale = products_PP.diagonal().mean() / expected_PP.diagonal().mean()
    torch.testing.assert_close(products_PP, expected_PP * scale, rtol=1e-2, atol=1e-2 * float(expected_PP.abs().mean()))


def planted(num_comma: int, num_point: int, cosine: float, noise: float = 1.0) -> Pairs:
    """Languages whose mean gradients, of length 1, have this cosine where their signs are the same, and its negative
    where they are not."""
    generator, num_prompts, num_dims = torch.Generator().manual_seed(0), 20, 60
    comma_L = torch.arange(num_comma + num_point) < num_comma
    mean_LD = torch.eye(len(comma_L), num_dims) * (1 - cosine) ** 0.5
    mean_LD[:, -1] = torch.where(comma_L, 1.0, -1.0) * cosine**0.5
    noise_LND = noise * torch.randn(len(comma_L), num_prompts, num_dims, generator=generator) / num_dims**0.5
    language_P = torch.arange(len(comma_L)).repeat_interleave(num_prompts)
    prompt_P = torch.arange(num_prompts).repeat(len(comma_L))
    return Pairs((mean_LD[:, None] + noise_LND).flatten(0, 1), language_P, prompt_P, comma_L)


def test_planted_conflicts_and_groups_are_found():
    pairs = planted(4, 4, 0.8)
    found = conflicts(pairs)
    assert found["different"] == {"agree": 0, "cannot tell": 0, "conflict": 16} | {
        "effect": pytest.approx(-0.8, abs=0.1)
    }
    assert found["same"] == {"agree": 12, "cannot tell": 0, "conflict": 0} | {"effect": pytest.approx(0.8, abs=0.1)}
    divided = divisions(pairs)["budget"]
    assert divided["rand_index"] == 1
    assert divided["recommended"]
    assert divided["two"] > divided["random"]
    assert divided["two"] == pytest.approx(by_signs(pairs)["budget"]["value"]), "the groups are those by the signs"
    assert divided["two"] - divided["together"] == pytest.approx(divided["over_together"]["value"])
    for of_measure in transfers(pairs).values():
        assert of_measure["itself"]["value"] > of_measure["same sign"]["value"] > 0 > of_measure["other sign"]["value"]
        assert of_measure["other sign"]["error"] < -of_measure["other sign"]["value"] / 2


def test_a_step_along_the_consensus_is_that_of_the_mean_gradients_it_weighs():
    """Without noise all folds are alike, and the gain is a cosine times a length."""
    pairs = planted(3, 1, 0.8, noise=0.0)
    gradient_LD = pairs.gradient_PD[::20].double()
    found = steps(pairs)["equal_length"]
    mean_D = gradient_LD.mean(0)
    gain_L = gradient_LD @ mean_D / mean_D.norm()
    assert found["mean"]["mean"] == pytest.approx(float(gain_L.mean()), rel=1e-4)
    assert found["worst"]["mean"] == pytest.approx(float(gain_L.min()), rel=1e-4)
    assert found["worst"]["surgery"] > 0 > found["worst"]["mean"]
    assert found["worst"]["difference"] == pytest.approx(found["worst"]["surgery"] - found["worst"]["mean"])


def test_the_two_filters_keep_as_many_and_agree_where_nothing_conflicts():
    found = filters(planted(4, 0, 0.8))["budget"]
    for share in ("0.3", "0.5", "0.8"):
        each = found[share]["mean"]
        assert each["difference"] == pytest.approx(each["surgery"] - each["mean"])
        assert each["difference"] == pytest.approx(0, abs=0.02 * each["mean"])
        low, high = each["interval"]
        assert low <= each["difference"] <= high
    assert found["all"]["mean"] > found["all"]["worst"] > 0


def test_the_command_goes_on_where_it_stopped_and_prints_its_tables(tmp_path, tiny_directory, capsys):
    output = tmp_path / "known_truth.jsonl"
    arguments = ["--model", str(tiny_directory), "--languages", "de", "fr", "en", "ja", "--output", str(output)]
    arguments += ["--prompts", "12", "--sizes", "8", "--draws", "2"]
    program.main(arguments)
    lines = output.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["key"]["known_truth"] for row in rows] == [
        *(what for what in program.MEASURED for _ in range(4)),
        *(what for what in ("conflicts", "divisions", "by_signs") for _ in range(8)),
    ]
    assert {(row["key"]["data"], row["pairs"]) for row in rows if row["key"]["prompts"] == 12} == {
        (data, 48) for data in ("signs", "signs, few points", "signs and names", "names")
    }
    capsys.readouterr()
    program.main(arguments)
    assert (capsys.readouterr().out, output.read_text().splitlines()) == ("", lines)
    output.write_text("".join(line + "\n" for line in lines[:-1]))
    program.main(arguments)
    assert json.loads(output.read_text().splitlines()[-1])["budget"] == rows[-1]["budget"]
    assert all(np.isfinite(row["budget"]["rand_index"]) for row in rows if row["key"]["known_truth"] == "divisions")
    capsys.readouterr()
    program.main([*arguments, "--markdown"])
    text = capsys.readouterr().out
    assert "| signs and names | 8 | 4 different | " in text
    assert "\n| at equal step length | names | kept 50% | " in text
    assert text.strip() in page([], rows)
    assert [("known by construction" in each) for each in (page([]), page([], rows))] == [True, False]
