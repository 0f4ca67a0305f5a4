"""The worker that `offline_vllm` starts: a model and requests on standard input, replies on standard output.

A program of its own that imports nothing of congrad, so that the GPU is vLLM's alone.
"""

import json
import os
import signal
import sys
import threading
from typing import IO, Any

GROUP = 256  # requests between two writes; vLLM schedules within them
NOT_INSTALLED = 3


def main() -> int:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed is for the log
    job = json.loads(sys.stdin.readline())
    requests = [json.loads(sys.stdin.readline()) for _ in range(job["requests"])]
    threading.Thread(target=end_with_input, daemon=True).start()
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        print(error, file=sys.stderr)
        return NOT_INSTALLED
    model = LLM(model=job["model"], **job["options"])
    for conversational in (True, False):
        alike = [request for request in requests if (request["messages"] is not None) == conversational]
        for start in range(0, len(alike), GROUP):
            write(answer(model, SamplingParams, alike[start : start + GROUP], conversational=conversational), replies)
    return 0


def answer(model: Any, sampling: Any, requests: list[dict[str, Any]], *, conversational: bool) -> list[dict[str, Any]]:
    settings = [
        sampling(**{name: request[name] for name in ("seed", "temperature", "top_p", "max_tokens")})
        for request in requests
    ]
    if conversational:
        outputs = model.chat([request["messages"] for request in requests], settings, use_tqdm=False)
    else:
        outputs = model.generate([request["prompt"] for request in requests], settings, use_tqdm=False)
    written = [output.outputs[0] for output in outputs]
    return [
        {
            "key": request["key"],
            "text": each.text,
            "finish_reason": "length" if each.finish_reason == "length" else "stop",
            "num_tokens": len(each.token_ids),
        }
        for request, each in zip(requests, written, strict=True)
    ]


def write(replies: list[dict[str, Any]], output: IO[str]) -> None:
    output.write(json.dumps(replies) + "\n")
    output.flush()


def end_with_input() -> None:
    """Whoever started this has ended, or has all it wants: nothing of the group may keep the GPU."""
    sys.stdin.read()
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
