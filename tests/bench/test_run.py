"""The orchestration of the bench, with contenders that answer at once."""

from pathlib import Path

from bench.run import LINES, Case, Result, candidates, language_state, measure, table

SECONDS = {"ours": 2.0, "trl_step": 8.0, "autograd": 5.0, "forward": 1.0, "floor": 1.5}


class Instant(Case):
    """Contenders of known speed; bergson is not installed, and TRL is fastest with two pairs a step."""

    def run(self, contender: str, workload: str, *options: str) -> Result | None:
        if contender not in SECONDS:
            return None
        seconds = SECONDS[contender] * (0.5 if options == ("--batch", "2") else 1.0)
        done = {"contender": contender, "workload": workload, "options": list(options)}
        sizes = {"beyond_weights_bytes": int(1e9 * seconds), "dims": 1, "num_weights": 1000}
        return done | sizes | {"seconds": seconds, "seconds_per_pair": seconds}


def case(dtype: str) -> Result:
    instant = Instant("tiny", "nowhere", dtype, {"answers": Path(), "long-prompt": Path()}, 1)
    return measure(instant, num_pairs=4, num_rounds=3, quick=False)


def test_the_fastest_settings_of_a_baseline_compete() -> None:
    rows = {row["title"]: row for row in case("bfloat16")["lines"]}
    assert rows["time, TRL step"]["other_options"] == ["--batch", "2"]
    assert rows["time, TRL step"]["ratios"] == [0.5, 0.5, 0.5]
    assert ("--batch", "4", "--autocast") in candidates("trl_step", "bfloat16", 4)
    assert ("--batch", "4", "--autocast") not in candidates("trl_step", "float32", 4)
    assert ("--batch", "4") not in candidates("trl_step", "float32", 6)


def test_the_table_says_what_was_met_and_what_was_skipped() -> None:
    found = case("float32")
    lines = table(found).splitlines()[3:]
    assert len(lines) == len(LINES)
    told = {line.title: text for line, text in zip(LINES, lines, strict=True)}
    assert told["time, TRL step"].endswith("0.50-0.50    0.45  NOT met")
    assert told["memory beyond the weights, TRL step"].endswith("0.50  met")
    assert told["time, bergson"].endswith("skipped: bergson is not installed or failed")
    assert told["time, plain forward passes"].endswith("2.00-2.00")
    assert language_state(found) == 0.001
