"""No text makes a regular expression slow: every pattern of the package is found in its source, and timed."""

import ast
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from time import process_time

import pytest
from tests.hostile.texts import HOSTILE, LENGTH

import congrad
from congrad.evaluation.numbers import last_number
from congrad.evaluation.verdict import ends_open, read_verdict
from congrad.languages.identify import MOST_PROSE, identify_languages, num_letters, prose
from congrad.languages.tags import languages_of, tag_of
from congrad.selfreward.rubric import read_score
from congrad.tables import cleaned, escape, visible
from congrad.words import one_line, printable, quote

SOURCE = Path(congrad.__file__).parent
SECONDS = 0.1  # of the processor, for a pattern and a text


def through(pattern: re.Pattern[str], text: str) -> None:
    deque(pattern.finditer(text), maxlen=0)


USES: dict[str, Callable[[re.Pattern[str], str], object]] = {
    "search": re.Pattern.search,
    "match": re.Pattern.match,
    "fullmatch": re.Pattern.fullmatch,
    **dict.fromkeys(("finditer", "findall", "sub", "subn", "split"), through),
}


def calls_of_re(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.fullmatch(r"re\.(?!escape)\w+", ast.unparse(node.func)):
            yield node


def named_patterns(tree: ast.Module) -> dict[int, str]:
    """The names of patterns that a module compiles once, by the line of the call."""
    assigned = (node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call))
    return {node.value.lineno: node.targets[0].id for node in assigned if isinstance(node.targets[0], ast.Name)}


def literal_flags(call: ast.Call) -> int:
    given = next((each.value for each in call.keywords if each.arg == "flags"), None)
    named = [node.attr for node in ast.walk(given or ast.Constant(0)) if isinstance(node, ast.Attribute)]
    return sum(re.RegexFlag[name] for name in named)


def uses_of_names(trees: Iterable[ast.Module]) -> dict[str, set[str]]:
    """How each pattern that has a name is used, in whatever module: `SLICE.fullmatch(...)`, `module.SLICE.search`."""
    found: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in USES:
                found.setdefault(ast.unparse(node.value).rpartition(".")[2], set()).add(node.attr)
    return found


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
USES_OF_NAMES = uses_of_names(TREES.values())


def patterns_of(path: Path) -> Iterator[tuple[str, re.Pattern[str] | None, set[str]]]:
    """Every pattern of a module with its place and uses; None where only running the program would show what it is."""
    place, named = path.relative_to(SOURCE.parent), named_patterns(TREES[path])
    for call in calls_of_re(TREES[path]):
        where, use = f"{place}:{call.lineno}", call.func.attr
        if call.lineno in named:
            module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
            yield where, getattr(import_module(module), named[call.lineno]), USES_OF_NAMES[named[call.lineno]]
        elif isinstance(call.args[0], ast.Constant) and use in USES:
            yield where, re.compile(call.args[0].value, literal_flags(call)), {use}
        else:
            yield where, None, set()


PATTERNS = {where: found for path in TREES for where, *found in patterns_of(path)}


def processor_seconds(function: Callable[[], object], enough: float) -> float:
    """The best of five calls; one that was fast enough is not repeated."""
    best = float("inf")
    for _ in range(5):
        start = process_time()
        function()
        best = min(best, process_time() - start)
        if best < enough:
            break
    return best


def test_the_texts_are_as_long_as_they_should_be() -> None:
    assert len(HOSTILE) == 45
    assert {len(text) for text in HOSTILE.values()} == {LENGTH}


def test_every_pattern_is_found() -> None:
    assert len(PATTERNS) > 25
    assert all(uses for _, uses in PATTERNS.values())
    put_together = [where for where, (pattern, _) in PATTERNS.items() if pattern is None]
    assert not put_together, "give it a name at the top of its module, so that it is timed"
    hidden = [path for path in TREES if re.search(r"^\s*(from re import|import re as)", path.read_text("utf-8"), re.M)]
    assert not hidden, "write `import re`, so that its patterns are found"


@pytest.mark.parametrize("where", PATTERNS)
def test_no_pattern_is_slow(where: str) -> None:
    pattern, uses = PATTERNS[where]
    assert pattern is not None
    taken = {
        (name, use): processor_seconds(lambda use=use, text=text: USES[use](pattern, text), SECONDS)
        for name, text in HOSTILE.items()
        for use in sorted(uses)
    }
    assert {key: seconds for key, seconds in taken.items() if seconds >= SECONDS} == {}, pattern.pattern


def test_a_quadratic_pattern_would_be_seen() -> None:
    address = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
    assert processor_seconds(lambda: address.search(HOSTILE["letters"][:10_000] + "!"), SECONDS) > SECONDS


# What reads foreign text: its own loops and what it calls of the standard library count, too.
READERS = {
    "prose": prose,
    "num_letters": num_letters,
    "identify_languages": lambda text: identify_languages([text], ["de"]),
    "languages_of": languages_of.__wrapped__,
    "tag_of": tag_of.__wrapped__,
    "tag_of, strict": lambda text: tag_of.__wrapped__(text, True),
    "read_score": read_score,
    "read_verdict": read_verdict,
    "ends_open": ends_open,
    "last_number": last_number,
    "cleaned": cleaned,
    "escape": lambda text: escape(text, None),
    "visible": visible,
    "printable": printable,
    "one_line": one_line,
    "quote": quote,
}


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_of_foreign_text_is_slow(reader: str) -> None:
    taken = {name: processor_seconds(lambda text=text: READERS[reader](text), 2) for name, text in HOSTILE.items()}
    assert {name: seconds for name, seconds in taken.items() if seconds >= 2} == {}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_identified_is_bounded(name: str) -> None:
    assert len(prose(HOSTILE[name])) <= MOST_PROSE
