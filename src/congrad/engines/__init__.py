"""Engines that write text: transformers in this process, or an endpoint over HTTP; and how every stage asks them."""

from congrad.engines.ask import Answers, as_messages, ask, make_request, seeded
from congrad.engines.interface import (
    Message,
    OpenEngine,
    Reply,
    Request,
    RequestRefused,
    Sampling,
    has_chat_template,
    identity,
)
from congrad.engines.open import open_engine, opened_when_asked

__all__ = [
    "Answers",
    "Message",
    "OpenEngine",
    "Reply",
    "Request",
    "RequestRefused",
    "Sampling",
    "as_messages",
    "ask",
    "has_chat_template",
    "identity",
    "make_request",
    "open_engine",
    "opened_when_asked",
    "seeded",
]
