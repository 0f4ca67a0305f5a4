"""From settings to an engine that answers. What an implementation needs is imported when it is opened."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path

from congrad.engines.interface import OpenEngine
from congrad.errors import UserError
from congrad.progress import Listener
from congrad.settings.engine import Engine
from congrad.settings.model import Model


def open_engine(engine: Engine, model: Model, *, log: Path | None = None) -> AbstractContextManager[OpenEngine]:
    """The engine, ready to answer with `model`; on exit its memory is free and its processes have ended.

    Args:
        log: where a process that the engine starts writes its output; None: nowhere.

    Raises:
        UserError: on entry, when the model cannot be loaded, an extra is not installed or the endpoint does not start.
    """
    if engine.kind == "transformers":
        from congrad.engines.local import open_local

        return open_local(engine, model)
    if model.adapter is not None:
        raise UserError(f"an engine of kind {engine.kind} cannot apply model.adapter", "merge it into the model first")
    from congrad.engines.endpoint import open_endpoint

    return open_endpoint(engine, model, log=log)


def tell_of_keys(listener: Listener, engines: Mapping[str, Engine]) -> None:
    """Notes once, before anything is sent, which key goes to which host; `engines` by their keys in the settings."""
    for key, engine in engines.items():
        engine.check_key(key)
    asked = [engine for engine in engines.values() if engine.api_key_env is not None]
    for note in dict.fromkeys(f"the key in {engine.api_key_env} is sent to {engine.host}" for engine in asked):
        listener.on_note(note)


@contextmanager
def opened_when_asked(engine: Engine, model: Model, *, log: Path | None = None) -> Iterator[Callable[[], OpenEngine]]:
    """A function that gives the open engine, opened the first time: nothing is loaded where nothing is missing."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(open_engine(engine, model, log=log)))
