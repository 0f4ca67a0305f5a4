"""Engines that write text: transformers in this process, an endpoint over HTTP, or vLLM in a process of its own."""

from congrad.selfreward.engines.interface import (
    Message,
    OpenEngine,
    Reply,
    Request,
    RequestRefused,
    has_chat_template,
    identity,
    open_engine,
)
from congrad.settings.engine import Engine

__all__ = [
    "Engine",
    "Message",
    "OpenEngine",
    "Reply",
    "Request",
    "RequestRefused",
    "has_chat_template",
    "identity",
    "open_engine",
]
