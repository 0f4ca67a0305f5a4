"""Selection: which rows to keep, why the others go, and what a person should be warned of."""

from congrad.selection.guards import MIN_PAIRS, guards
from congrad.selection.keep import check_rule, reasons, select

__all__ = ["MIN_PAIRS", "check_rule", "guards", "reasons", "select"]
