"""The chat templates that trainers have of their own, by the text that they put around messages.

LLaMA-Factory and ms-swift do not read the template of a model: they print one of theirs, by name, and tokenise each
piece by itself. Which of them prints what was scored is found by comparing tokens (`congrad.exports.verify`).

    LLaMA-Factory 0.9.5: src/llamafactory/data/template.py
    ms-swift 4.6.0: swift/template/templates/{gemma,llama,qwen,utils}.py
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ChatTemplate:
    """What a trainer prints around messages; BOS stands for the tokenizer's own.

    Attributes:
        user: around a user's turn, up to where the answer begins.
        answer_end: after an answer that is not the last.
        end: after the last answer.
        system: around a system message, which comes before the first turn.
        system_in_turn: the system message is part of the first user's turn.
        bos: the text begins with the BOS token.
        images: the trainer takes the word `<image>` for an image.
        strips: characters that the trainer strips from an answer.
    """

    name: str
    user: tuple[str, str]
    answer_end: str
    end: str
    system: tuple[str, str] | None
    system_in_turn: bool = False
    bos: bool = False
    images: bool = False
    strips: str = ""


GEMMA = ("<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n")
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"
LLAMA = (HEADER.format("user"), "<|eot_id|>" + HEADER.format("assistant"))
CHATML = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
CHATML_SYSTEM = ("<|im_start|>system\n", "<|im_end|>\n")
TURN_END, EOT, IM_END = "<end_of_turn>\n", "<|eot_id|>", "<|im_end|>\n"

LLAMAFACTORY = (
    ChatTemplate("gemma3", GEMMA, TURN_END, TURN_END, ("", "\n\n"), system_in_turn=True, bos=True, images=True),
    ChatTemplate("llama3", LLAMA, EOT, EOT, (HEADER.format("system"), EOT), bos=True),
    ChatTemplate("chatml", CHATML, IM_END, IM_END, CHATML_SYSTEM),
)
MS_SWIFT = (
    ChatTemplate(
        "gemma3_text", GEMMA, TURN_END, "<end_of_turn>", ("", "\n\n"), system_in_turn=True, bos=True, strips="\n"
    ),
    ChatTemplate("llama3", LLAMA, EOT, EOT, (HEADER.format("system"), EOT), bos=True),
    ChatTemplate("chatml", CHATML, IM_END, IM_END, CHATML_SYSTEM),
)
TEMPLATES = {"llamafactory": LLAMAFACTORY, "ms-swift": MS_SWIFT}


def named(format: str, name: str) -> ChatTemplate:
    """The template that a trainer knows by a name."""
    return next(each for each in TEMPLATES[format] if each.name == name)
