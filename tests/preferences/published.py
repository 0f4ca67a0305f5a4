"""Preference data in the layouts in which they are published: the columns as they are, the words our own.

Each function writes one layout and returns what is to be read. `EXPECTED` says how many pairs of which language that
must give, counted by hand.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
from tests.files import write_jsonl

Row = dict[str, Any]
TEXTS: dict[str, list[tuple[str, str, str]]] = {
    "de": [
        (
            "Warum ist der Himmel am Abend rot?",
            "Das Licht legt abends einen längeren Weg zurück.",
            "Das weiß ich nicht.",
        ),
        ("Wie kocht man ein weiches Ei?", "Man legt es fünf Minuten in kochendes Wasser.", "Man kauft es im Laden."),
        ("Welche Farbe hat frisches Gras?", "Frisches Gras ist meistens grün.", "Gras ist eine Pflanze auf der Wiese."),
    ],
    "fr": [
        ("Pourquoi le ciel est-il bleu ?", "L'air disperse surtout la lumière bleue.", "Je ne sais pas du tout."),
        ("Comment faire cuire du riz ?", "On le fait bouillir dans deux fois son volume d'eau.", "On va au marché."),
        (
            "Quelle est la couleur de la neige ?",
            "La neige fraîche est blanche.",
            "Elle tombe pendant les mois d'hiver.",
        ),
    ],
}
NAMES = {"de": "German", "fr": "French"}
FLORES = {"de": "deu_Latn", "fr": "fra_Latn"}
QUOTES = {"de": "Sag es noch einmal anders.", "fr": "Dis-le encore autrement."}
EACH = {"de": 3, "fr": 3}


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def assistant(text: str) -> Row:
    return {"role": "assistant", "content": text}


def every(make: Callable[[str, str, str, str], Row]) -> list[Row]:
    """A row of every text: made of its language, prompt, better and worse response."""
    return [make(language, *texts) for language, own in TEXTS.items() for texts in own]


def of(language: str, make: Callable[[str, str, str], Row]) -> list[Row]:
    return [make(*texts) for texts in TEXTS[language]]


def plain(prompt: str, good: str, bad: str) -> Row:
    return {"prompt": prompt, "chosen": good, "rejected": bad}


def jsonl(place: Path, rows: list[Row]) -> Path:
    return write_jsonl(place / "pairs.jsonl", rows)


def parquet(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path, index=False)
    return path


def layout_1(place: Path) -> Path:
    return jsonl(place, every(lambda language, *texts: {"language": language, **plain(*texts)}))


def layout_2(place: Path) -> Path:
    for language in TEXTS:
        write_jsonl(place / f"{language}.jsonl", of(language, plain))
    return place


def layout_3(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        sides = {"chosen": [user(prompt), assistant(good)], "rejected": [user(prompt), assistant(bad)]}
        return {
            "prompt": prompt,
            "prompt_id": "a1",
            **sides,
            "messages": sides["chosen"],
            "score_chosen": 8.5,
            "score_rejected": 3.0,
        }

    for split, rows in (("train_prefs", every(row)), ("test_prefs", every(row)[:1]), ("train_sft", every(row)[:2])):
        parquet(place / "data" / f"{split}-00000-of-00001.parquet", rows)
    return place


def layout_4(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        sides = {"chosen": [user(prompt), assistant(good)], "rejected": [user(prompt), assistant(bad)]}
        return {"id": "x-1", "source": "ours", "prompt": prompt, **sides}

    return jsonl(place, every(row))


def layout_5(place: Path) -> Path:
    """Half of the rows have a system message, which makes all of them conversations."""

    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        system = "Sei freundlich." if language == "de" else ""
        return {"system": system, "input": prompt, "chosen": good, "rejected": bad}

    return jsonl(place, every(row))


def layout_6(place: Path) -> Path:
    return jsonl(
        place,
        every(
            lambda language, prompt, good, bad: {"qid": 7, "question": prompt, "response_j": good, "response_k": bad}
        ),
    )


def layout_7(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        return {"instruction": prompt, "chosen_response": good, "rejected_response": bad}

    return jsonl(place, every(row))


def layout_8(place: Path) -> Path:
    def row(language: str, *texts: str) -> Row:
        return {**plain(*texts), "chosen-rating": 4.5, "rejected-rating": 2.0, "chosen-model": "one"}

    return jsonl(place, every(row))


def layout_9(place: Path) -> Path:
    """Three responses a prompt: the best and the worst make the pair. In one row all are rated alike: a tie."""

    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        scores = (5.0, 5.0, 5.0) if prompt.startswith("Quelle") else (6.5, 9.0, 2.0)
        responses = (QUOTES[language], good, bad)
        made = [
            {
                "model": f"m{number}",
                "response": response,
                "overall_score": score,
                "annotations": {"honesty": {"Rating": "4", "Rationale": "x"}},
            }
            for number, (response, score) in enumerate(zip(responses, scores, strict=True))
        ]
        return {"source": "ours", "instruction": prompt, "models": ["m0", "m1", "m2"], "completions": made}

    return jsonl(place, every(row))


def layout_10(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        better = int(prompt.endswith(" ?"))
        sides = {f"response_{better}": good, f"response_{1 - better}": bad}
        return {
            "prompt": prompt,
            **dict(sorted(sides.items())),
            "better_response_id": better,
            "safer_response_id": 1 - better,
        }

    return jsonl(place, every(row))


def layout_11(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        first = prompt.startswith("W")
        one, other = (good, bad) if first else (bad, good)
        return {
            "post_id": "p",
            "domain": "d",
            "history": prompt,
            "human_ref_A": one,
            "human_ref_B": other,
            "labels": int(first),
            "score_A": 9 if first else 2,
            "score_B": 2 if first else 9,
        }

    return jsonl(place, every(row))


def layout_12(place: Path) -> Path:
    """Of six rows two are ties, of both kinds."""
    winners = iter(["model_a", "model_b", "tie", "model_b", "tie (bothbad)", "model_a"])

    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        winner = next(winners)
        one, other = (bad, good) if winner == "model_b" else (good, bad)
        return {
            "question_id": "q",
            "model_a": "vicuna",
            "model_b": "alpaca",
            "winner": winner,
            "judge": "j",
            "conversation_a": [user(prompt), assistant(one)],
            "conversation_b": [user(prompt), assistant(other)],
            "turn": 1,
            "language": NAMES[language],
        }

    return jsonl(place, every(row))


def layout_13(place: Path) -> Path:
    """Two turns each; the last row is a tie."""

    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        tie, first = prompt.startswith("Quelle"), language == "de"
        one, other = (good, bad) if first else (bad, good)
        return {
            "id": 3,
            "model_a": "m1",
            "model_b": "m2",
            "prompt": json.dumps([prompt, QUOTES[language]], ensure_ascii=False),
            "response_a": json.dumps([one, one.upper()], ensure_ascii=False),
            "response_b": json.dumps([other, other.upper()], ensure_ascii=False),
            "winner_model_a": int(first and not tie),
            "winner_model_b": int(not first and not tie),
            "winner_tie": int(tie),
        }

    path = place / "train.csv"
    pd.DataFrame(every(row)).to_csv(path, index=False)
    return path


def layout_14(place: Path) -> Path:
    """Each prompt has two ranked answers, and one without a rank."""
    rows: list[Row] = []
    for language, texts in TEXTS.items():
        for number, (prompt, good, bad) in enumerate(texts):
            root = f"{language}-{number}"
            shared = {"lang": language, "message_tree_id": root}
            rows.append(
                {"message_id": root, "parent_id": None, "text": prompt, "role": "prompter", "rank": None, **shared}
            )
            for rank, text in ((1, bad), (0, good), (None, QUOTES[language])):
                rows.append(
                    {
                        "message_id": f"{root}-{rank}",
                        "parent_id": root,
                        "text": text,
                        "role": "assistant",
                        "rank": rank,
                        **shared,
                    }
                )
    return jsonl(place, rows)


def layout_15(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        head = f"\n\nHuman: {prompt}\n\nAssistant: {QUOTES[language]}\n\nHuman: {QUOTES[language]}\n\nAssistant: "
        return {"chosen": head + good, "rejected": head + bad}

    return jsonl(place, every(row))


def layout_16(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        return {
            "conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": prompt}],
            "chosen": {"from": "gpt", "value": good},
            "rejected": {"from": "gpt", "value": bad},
        }

    return jsonl(place, every(row))


def layout_17(place: Path) -> Path:
    """As a hub's configurations are stored: a folder of each, with a file of each split, and a card that lists them."""
    lines = ["---", "configs:"]
    for language in TEXTS:
        lines += [f"- config_name: {language}", "  data_files:"]
        for split, rows in (("train", of(language, plain)), ("test", of(language, plain)[:1])):
            parquet(place / language / f"{split}-00000-of-00001.parquet", rows)
            lines += [f"  - split: {split}", f"    path: {language}/{split}-*"]
    (place / "README.md").write_text("\n".join([*lines, "---", ""]))
    return place


def layout_18(place: Path) -> Path:
    splits = {language: datasets.Dataset.from_list(of(language, plain)) for language in TEXTS}
    datasets.DatasetDict(splits).save_to_disk(str(place / "saved"))
    return place / "saved"


def layout_19(place: Path) -> Path:
    for language in TEXTS:
        (place / language).mkdir()
        write_jsonl(place / language / "train.jsonl", of(language, plain))
    return place


def layout_20(place: Path) -> Path:
    rows = every(lambda language, *texts: {**plain(*texts), "lang_code": FLORES[language]})
    for shard in range(3):
        parquet(place / f"xx-{shard:05}-of-00003.parquet", rows[shard::3])
    return place


def layout_21(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        return {"targets_language": language, "inputs": prompt, "preferred": good, "dispreferred": bad}

    return jsonl(place, every(row))


def layout_22(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        return {
            "language": language,
            "prompt": [user(prompt)],
            "chosen": [assistant(good)],
            "rejected": [assistant(bad)],
            "tools": None,
        }

    return jsonl(place, every(row))


def layout_23(place: Path) -> Path:
    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        return {
            "language": language,
            "prompt": [user(prompt)],
            "chosen": [user(prompt), assistant(good)],
            "rejected": [user(prompt), assistant(bad)],
        }

    path = place / "pairs.csv"
    parquet(place / "hidden" / "p.parquet", every(row))
    table = pd.read_parquet(place / "hidden" / "p.parquet")  # whose lists are arrays, printed without commas
    table.to_csv(path)  # with the index, as it is by default
    return path


def layout_24(place: Path) -> Path:
    for language, ending in (("de", "gz"), ("fr", "zst")):
        data = "".join(json.dumps(row) + "\n" for row in of(language, plain)).encode()
        path = place / f"{language}.jsonl.{ending}"
        if ending == "gz":
            path.write_bytes(gzip.compress(data))
        else:
            with pa.CompressedOutputStream(str(path), "zstd") as file:
                file.write(data)
    return place


def layout_25(place: Path) -> Path:
    """The best and the worst of three; 1 is the best rank."""

    def row(language: str, prompt: str, good: str, bad: str) -> Row:
        return {
            "prompt": prompt,
            "responses": [QUOTES[language], good, bad],
            "rankings": [2, 1, 3],
            "language": NAMES[language],
        }

    return jsonl(place, every(row))


EXPECTED: dict[int, dict[str, int]] = {
    **dict.fromkeys(range(1, 26), EACH),
    9: {"de": 3, "fr": 2},  # one tie
    12: {"de": 2, "fr": 2},  # a tie each
    13: {"de": 3, "fr": 2},  # one tie
}
WRITERS: dict[int, Callable[[Path], Path]] = {number: globals()[f"layout_{number}"] for number in range(1, 26)}
