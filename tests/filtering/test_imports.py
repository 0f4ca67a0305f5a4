"""What a command pulls in: nobody waits for a library that is not used, or is broken by a version that is pinned."""

import subprocess
import sys

import pytest

FILTER_AGAIN = "import congrad.filtering, congrad.report.screen, congrad.selection"
WHOLE_FILTER = FILTER_AGAIN + ", congrad.models.load, congrad.gradients.build, congrad.filtering.estimate"
HELP = "import congrad.cli"


@pytest.mark.parametrize(
    ("imports", "unwanted"),
    [
        (FILTER_AGAIN, {"transformers", "trl", "peft", "openai", "lingua", "plotly"}),
        (WHOLE_FILTER, {"trl", "openai", "lingua", "lm_eval", "vllm"}),
        (HELP, {"torch", "transformers", "datasets", "trl", "openai"}),
    ],
)
def test_unused_libraries_stay_out(imports, unwanted):
    program = f"{imports}\nimport sys\nprint(*({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
