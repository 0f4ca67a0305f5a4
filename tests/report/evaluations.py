"""A loop's evaluation.json as the stage writes it, with made-up figures."""

import json

HOSTILE = "</script><script>executed.push(1)</script><img src=x onerror=executed.push(2)>"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def figure(value, delta=None):
    content = {"value": value, "low": value - 0.05, "high": value + 0.05, "count": 40}
    return content | ({} if delta is None else {"delta": delta, "delta_low": delta - 0.04, "delta_high": delta + 0.04})


def evaluation(models, languages):
    def row(value, delta):
        kinds = {kind: figure(value, delta) for kind in ("seen", "unseen", "mean")}
        return {"languages": {name: figure(value, delta) for name in languages}} | kinds

    rows = {name: row(0.5 + 0.1 * n, 0.1 * n if n else None) for n, name in enumerate(models)}
    return {
        "congrad": 1,
        "models": models,
        "initial": models[0],
        "confidence": 0.95,
        "headline": "preference/implicit",
        "metrics": [
            {
                "key": key,
                "title": title,
                "part": key.partition("/")[0],
                "unit": unit,
                "higher_is_better": unit == "percent",
                "languages": languages,
                "rows": rows,
            }
            for key, title, unit in (
                ("preference/implicit", "Held-out pairs, arc_easy <b>", "percent"),
                ("task/x/bits-per-byte", "Texts, bits per byte", "bits"),
            )
        ],
        "tax": {"accuracy": {name: figure(0.4, -0.01) for name in models}, "bits_per_byte": {}},
        "contests": [],
        "notes": [f"note {HOSTILE}"],
    }
