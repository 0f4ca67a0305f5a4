"""What is asked: a tiny model with a chat template, or an endpoint in this process."""

from tests.endpoint import chat_directory, endpoint

__all__ = ["chat_directory", "endpoint"]
