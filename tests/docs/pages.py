"""The fenced blocks of the documentation, and what stands before and after them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "demo/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(
    r"(?:<!--\s*not run:(?P<why>[^>]*)-->\n)?^```(?P<kind>[\w{}-]*)[^\n]*\n(?P<text>.*?)^```", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        kind: the word after the fence.
        why_not: the reason in the comment above it why no test runs it; None where one does.
    """

    page: Path
    line: int
    kind: str
    text: str
    why_not: str | None

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        why = match["why"]
        line = text.count("\n", 0, match.start("kind")) + 1
        found.append(Block(page, line, match["kind"], match["text"], None if why is None else why.strip()))
    return found


def lines(block: Block) -> list[str]:
    """The commands of a shell block, continued lines joined."""
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.split("#")[0].strip()]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
