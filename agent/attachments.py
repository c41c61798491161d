"""Images and sound for the next question: checked by their bytes, counted, sent inline."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.messages import Message
from agent.tokens import text_of
from tools.errors import UsageError

Modality = Literal["image", "audio"]

# Token budgets that Gemma 4's image processor knows (max_soft_tokens, its model card).
BUDGETS = (70, 140, 280, 560, 1120)
MAX_BYTES = 10_000_000
# Sound: reserved as if a second took 25 tokens and a clip its longest, 30 s.
AUDIO_TOKENS = 750
# Marks around an image or a clip.
_MARKS = 4
_HEARS = re.compile(r"gemma-?(?:4|3n)?-?e[24]b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to be sent with the next question; ``tokens`` is what it may take of the window."""

    name: str
    modality: Modality
    media: str
    data: bytes
    tokens: int


def read_attachment(path: str | Path, budget: int = 280) -> Attachment:
    """Read a file; raises UsageError for what is no image or sound, too large, or unreadable."""
    if budget not in BUDGETS:
        raise UsageError(
            f"An image can't take {budget} tokens.", fix=f"One of {', '.join(map(str, BUDGETS))}."
        )
    file = Path(path).expanduser()
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(
                f"{file.name} has {size / 1e6:.1f} MB; the limit is {MAX_BYTES / 1e6:g} MB.",
                fix="Make it smaller: the model sees little more than a thousand tokens of it.",
            )
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file.name} can't be read: {error.strerror}.") from error
    media = _media(data)
    if not media:
        raise UsageError(
            f"{file.name} is neither an image nor a sound that the model takes.",
            fix="Images: PNG, JPEG, WebP, GIF. Sound: WAV, MP3, FLAC, OGG.",
        )
    modality: Modality = "image" if media.startswith("image/") else "audio"
    tokens = (budget if modality == "image" else AUDIO_TOKENS) + _MARKS
    return Attachment(file.name, modality, media, data, tokens)


def why_refused(
    attachment: Attachment, model: str, limits: Mapping[str, int], window: int, others: int = 0
) -> str:
    """Return why this model or server can't take the attachment, empty when it may."""
    if attachment.modality == "audio" and model and not _HEARS.search(model):
        return f"{model} can't hear: of Gemma 4 only E2B and E4B can"
    if limits.get(attachment.modality) == 0:
        return (
            f"the server was started with {attachment.modality} limited to 0"
            " (--limit-mm-per-prompt): it takes none"
        )
    if window and others + attachment.tokens > window // 2:
        return f"it would take {attachment.tokens} of the window's {window} tokens"
    return ""


def modality_limits(args: Sequence[str]) -> dict[str, int]:
    """Return what ``vllm serve`` arguments limit each modality to, where they do."""
    found: dict[str, int] = {}
    words = [part for arg in args for part in (arg.split("=", 1) if arg[:2] == "--" else [arg])]
    for index, word in enumerate(words):
        value = words[index + 1] if index + 1 < len(words) else ""
        name = word.replace("_", "-")
        if name == "--language-model-only":
            found |= {"image": 0, "audio": 0, "video": 0}
        elif name.startswith("--limit-mm-per-prompt."):
            found |= _limits({name.rpartition(".")[2]: value})
        elif name == "--limit-mm-per-prompt":
            found |= _limits(_pairs(value))
    return found


def with_attachments(
    messages: Sequence[Message], attachments: Sequence[Attachment]
) -> list[Message]:
    """Return the messages with the attachments in the first question after the system prompt."""
    if not attachments:
        return list(messages)
    at = max(i for i, message in enumerate(messages) if message.get("role") == "user")
    parts: list[dict[str, Any]] = [_part(one) for one in attachments]
    parts.append({"type": "text", "text": text_of(messages[at])})
    return [*messages[:at], Message(role="user", content=parts), *messages[at + 1 :]]


def tokens_of(attachments: Sequence[Attachment]) -> int:
    """Return the tokens that the attachments may take together."""
    return sum(one.tokens for one in attachments)


def extra_body(attachments: Sequence[Attachment]) -> dict[str, Any]:
    """Return what a request says of the images' token budget; empty without images."""
    budgets = [one.tokens - _MARKS for one in attachments if one.modality == "image"]
    return {"mm_processor_kwargs": {"max_soft_tokens": max(budgets)}} if budgets else {}


def _part(one: Attachment) -> dict[str, Any]:
    data = base64.b64encode(one.data).decode()
    if one.modality == "image":
        return {"type": "image_url", "image_url": {"url": f"data:{one.media};base64,{data}"}}
    form = one.media.partition("/")[2]
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def _media(data: bytes) -> str:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return "image/gif"
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "")
    if data.startswith(b"fLaC"):
        return "audio/flac"
    if data.startswith(b"OggS"):
        return "audio/ogg"
    if data.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")):
        return "audio/mp3"
    return ""


def _pairs(value: str) -> dict[str, Any]:
    if value.lstrip().startswith("{"):
        try:
            told = json.loads(value)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)


def _limits(pairs: Mapping[str, Any]) -> dict[str, int]:
    return {k.strip(): int(v) for k, v in pairs.items() if str(v).strip().isdigit()}
