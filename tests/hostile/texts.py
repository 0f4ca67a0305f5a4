"""Forty-five texts of 100,000 characters, each the worst for some way of writing a pattern."""

LENGTH = 100_000

# What is repeated, after what, before what. The end keeps a pattern from matching what came before it.
SHAPES = {
    "letters": ("", "a", "!"),
    "letters of one address": ("a@", "b", "!"),
    "addresses without an end": ("", "a@", "!"),
    "addresses end to end": ("", "a@b.c+", "@"),
    "dotted names": ("", "a.", "@"),
    "plus signs": ("", "+", "@a"),
    "links": ("", "http://", " "),
    "links with nothing behind": ("", "www. ", "!"),
    "full stops": ("", ".", "!"),
    "spaces": ("", " ", "!"),
    "spaces of many kinds": ("", "\u3000\u00a0\t\u2009", "!"),
    "line breaks": ("", "\n", "!"),
    "carriage returns": ("", "\r\n", "\r"),
    "line separators": ("", "\u2028\u0085", "!"),
    "digits": ("", "1", "!"),
    "digits of other scripts": ("", "٣৩", "!"),
    "thousands": ("1", ".000", "0"),
    "thousands with two marks": ("1", ",000.000", "0"),
    "decimals": ("", "1,5.", "-"),
    "slices": ("-", "1:", "-"),
    "round brackets": ("", "(", "!"),
    "square brackets": ("", "[]", "]"),
    "braces": ("", "{a", "{"),
    "one brace": ("{", "a", "!"),
    "tags": ("", "<a ", "!"),
    "tags that close": ("", "</a", "<"),
    "backticks": ("", "`", "!"),
    "fences": ("", "```\n", "``"),
    "odd backticks": ("", "`\n", "`"),
    "hyphens": ("", "-", "!"),
    "subtags": ("en", "-Latn", "-"),
    "backslashes": ("", "\\", "!"),
    "underscores": ("", "a_", "!"),
    "combining marks out of order": ("a", "\u0301\u0327", "!"),
    "ideographs": ("", "太陽", "!"),
    "right to left": ("", "שמש ", "!"),
    "marks of direction": ("", "\u202e\u2066", "!"),
    "halves of surrogate pairs": ("", "\ud800", "!"),
    "control characters": ("", "\x1b[\x00", "!"),
    "emoji of many parts": ("", "👩\u200d👩\u200d", "!"),
    "almost a score": ("", ". my, final score / ", "5"),
    "words before a score": (". ", "my, so,  ", "!"),
    "a score far away": ("score", " ", "5"),
    "almost a verdict": ("", "verdict ", "answer"),
    "a verdict far away": ("verdict: response", "\t", "c"),
}


def hostile(prefix: str, repeated: str, end: str) -> str:
    room = LENGTH - len(prefix) - len(end)
    return prefix + (repeated * (room // len(repeated) + 1))[:room] + end


HOSTILE = {name: hostile(*shape) for name, shape in SHAPES.items()}
