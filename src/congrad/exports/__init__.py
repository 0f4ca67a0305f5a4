"""Exports: the kept pairs of a run in a trainer's own layout, with the few lines of configuration that it needs."""

from congrad.exports.export import Exported, export_run
from congrad.exports.layouts import FORMATS

__all__ = ["FORMATS", "Exported", "export_run"]
