"""A loop's directory as its stages write it, with made-up figures."""

from pathlib import Path

from tests.report.evaluations import evaluation, write
from tests.runs import make_run

from congrad.selfreward.hygiene import measure_hygiene


def make_loop(directory: Path, text: str, *, evaluated: bool = False) -> Path:
    """Two filters, two rounds, the second not finished for one of them; `text` is a language and a warning."""
    languages = ["de", text]
    responses = [
        {"language": name, "prompt_key": f"{name}{n // 2}", "response": "x" * n} for name in languages for n in range(8)
    ]
    hygiene = measure_hygiene(responses, [[n % 4, None if n == 3 else n % 5] for n in range(16)])
    for place in (directory / "round-1", directory / "congrad" / "round-2"):
        write(place / "generate" / "manifest.json", {"prompts": 400, "responses": 1600, "languages": {}})
        write(place / "judge" / "manifest.json", {"responses": 1600, "warnings": [f"careful {text}"]})
        write(place / "judge" / "hygiene.json", hygiene)
        write(place / "pair" / "manifest.json", {"pairs": 300, "languages": {}, "warnings": []})
        rates = {"de": {"off_target_rate": 0.25}, text: {"off_target_rate": None}}
        write(place / "pair" / "language.json", {"languages": rates})
    make_run(directory / "congrad" / "round-1" / "filter", languages=("de", "en", "tr"), each=40, conflict=(0, 1))
    random = {"rows": 300, "kept": 150, "settings": {"method": "random"}, "warnings": []}
    write(directory / "random" / "round-1" / "filter" / "manifest.json", random)
    for arm in ("congrad", "random"):
        trained = {"pairs": 60, "steps": 12, "first_loss": 0.693, "last_loss": 0.41, "warnings": []}
        write(directory / arm / "round-1" / "train" / "manifest.json", trained)
    (directory / "random" / "round-2" / "judge").mkdir(parents=True)  # begun, not finished
    write(directory / "random" / "round-2" / "judge" / "stage.json", {})
    if evaluated:
        write(directory / "evaluate" / "evaluation.json", evaluation(["M0", f"M1 {text}", "M1-random"], languages))
        write(directory / "evaluate" / "manifest.json", {"stage": "evaluate", "warnings": [text]})
    return directory
