"""Chat templates of models that also take images, which read a message's content in parts and pass over plain text."""

import jinja2
from transformers import PreTrainedTokenizerBase

PROBE = "Hello"
PARTS = """\
{%- set in_parts = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- if message.content is string -%}
{%- set message = dict(message, content=[{'type': 'text', 'text': message.content}]) -%}
{%- endif -%}
{%- set in_parts.messages = in_parts.messages + [message] -%}
{%- endfor -%}
{%- set messages = in_parts.messages -%}
"""


def read_plain_text(tokenizer: PreTrainedTokenizerBase) -> None:
    """Has a template that knows contents in parts alone take text as one part; leaves every other one as it is."""
    template, parts = tokenizer.chat_template, [{"type": "text", "text": PROBE}]
    if isinstance(template, str) and not prints(tokenizer, PROBE) and prints(tokenizer, parts):
        tokenizer.chat_template = PARTS + template


def prints(tokenizer: PreTrainedTokenizerBase, content: object) -> bool:
    """Whether the template prints what a lone message says; not where it refuses it."""
    try:
        return PROBE in tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    except (jinja2.TemplateError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return False
