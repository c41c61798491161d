"""Commands and addresses in an answer: only those of a matched runbook may be proposed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runbooks.runbook import Runbook

# Programs that an answer could tell a person to run.
_HEADS = (
    "gcloud|gsutil|bq|kubectl|helm|docker|podman|curl|wget|bash|sh|zsh|python3?|perl|ruby"
    "|node|npx|npm"
    "|pip3?|pipx|uvx?|apt|apt-get|yum|dnf|brew|sudo|su|rm|dd|mkfs|chmod|chown|mv|cp|kill"
    "|pkill|killall"
    "|systemctl|service|reboot|shutdown|export|unset|eval|exec|source|nc|ncat|ssh|scp|rsync"
    "|git|vllm"
    "|huggingface-cli|hf|terraform|ansible|make|env|printenv|cat|echo|tee|sed|awk|crontab"
    "|iptables"
    "|nvidia-smi|ray|torchrun|gemma-sre|powershell|cmd|openssl|base64|mysql|psql|redis-cli"
    "|sqlite3"
)
_COMMAND = re.compile(rf"^(?:\$|#|>)?\s*(?:\w+=\S*\s+)*(?:\./|/\S+/)?(?:{_HEADS})(?:\s+\S|$)")
_SHELL = re.compile(r"\s\|\s*\w|&&|\|\||;\s*\w+\s|\$\(|>\s*/|<\(|^\./|\s--?[a-z][\w-]*[ =]\S")
# In plain prose "docker image" and "make sure" are words; these are not.
_IN_PROSE = re.compile(
    r"\b(?:(?:gcloud|gsutil|kubectl|helm|sudo|wget|npx|systemctl|pkill|killall|chmod|chown"
    r"|scp|mkfs"
    r"|apt-get|huggingface-cli|redis-cli|iptables|crontab|eval)\s+[-\w/.]+"
    r"|curl\s+(?:-|http|\w+\.\w)|(?:docker|podman)\s+(?:run|exec|rm|rmi|stop|kill|pull|push"
    r"|compose|system)\b"
    r"|(?:pip3?|pipx|npm|uv|apt|yum|dnf|brew)\s+(?:install|uninstall|remove|run|tool)\b"
    r"|rm\s+-|dd\s+if=|kill\s+-\d|git\s+(?:clone|push|reset|checkout|pull|clean)\b|(?:bash|sh"
    r"|zsh)\s+-?c?\s*[\"'<$./]"
    r"|python3?\s+(?:-|\S+\.py)|export\s+\w+=|vllm\s+serve\b|ssh\s+\S+@|nc\s+-"
    r"|base64\s+-d|terraform\s+(?:apply|destroy)\b"
    r"|gemma-sre\s+[a-z]+|(?:drop|truncate)\s+table\b|delete\s+from\s+\w+|(?:os\.system"
    r"|subprocess\.|exec\())|\|\s*(?:ba|z)?sh\b",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"(?:\b(?:https?|ftps?|ssh|git|file|gs|s3|data|javascript|mailto|tel|hxxps?):(?://)?|\bwww\.)"
    r"[^\s<>\"'`)\]]+",
    re.IGNORECASE,
)
_LINK = re.compile(r"!?\[[^\]\n]*\]\(\s*<?([^)\s>]+)|^\s*\[[^\]\n]+\]:\s*(\S+)", re.MULTILINE)
_HOST = re.compile(
    r"\b(?:[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\.)+(?:com|net|org|io|sh|dev|xyz|ru|cn|info"
    r"|top|ai|app"
    r"|co|me|tk|link|site|online|cloud|example|zip|gg|to|ly)\b(?:/[^\s<>\"'`)\]]*)?",
    re.IGNORECASE,
)
# Hosts that are names of resources: an image's registry, a service's own address.
_RESOURCE = re.compile(
    r"(?:^|\.)(?:gcr\.io|pkg\.dev|googleapis\.com|gserviceaccount\.com|run\.app)(?:/|$)", re.I
)
_SPAN = re.compile(r"``([^\n]+?)``|`([^`\n]+)`")
_FENCED = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
# Our own commands that only look; everything after the verb is names, never shell.
_OWN = re.compile(
    r"gemma-sre (?:diagnose|check|runbook (?:show|list|search)|incident (?:show|list|search)"
    r"|session (?:show|list)|audit (?:show|verify)|status|size|cost)(?: [\w.:/=-]+)*"
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be proposed: commands, whole, and addresses, whole."""

    commands: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()

    @classmethod
    def of(cls, fixes: Iterable[str], runbooks: Iterable[Runbook]) -> Allowed:
        """Collect what stands in the fixes of the causes and in the prose of their runbooks."""
        texts = [*fixes]
        sources: list[str] = []
        for runbook in runbooks:
            texts += [*runbook.fix, *runbook.sections.values()]
            sources += runbook.sources
        commands: set[str] = set()
        addresses: set[str] = set()
        for text in texts:
            for block in _FENCED.findall(text):
                commands |= {_plain(line) for line in _joined(block)}
            commands |= {_plain(a or b) for a, b in _SPAN.findall(text)}
        for text in (*texts, *sources):
            addresses |= set(addresses_in(text))
        return cls(frozenset(commands), frozenset(addresses))

    def command(self, text: str) -> bool:
        """Say whether a command is one of a runbook, or one of ours that only looks."""
        plain = _plain(text)
        return plain in self.commands or _OWN.fullmatch(plain) is not None

    def address(self, text: str) -> bool:
        """Say whether an address stands in a runbook, or is the name of a resource."""
        return text in self.addresses or (
            "://" not in text and _RESOURCE.search(text.split("/")[0]) is not None
        )


def commands_in(text: str) -> list[str]:
    """Return what a sentence tells a person to run, in backticks or in plain words."""
    spans = [a or b for a, b in _SPAN.findall(text)]
    found = [span for span in spans if looks_like_command(span)]
    found += [match.group() for match in _IN_PROSE.finditer(_SPAN.sub(" ", text))]
    return found


def looks_like_command(text: str) -> bool:
    """Say whether a text on its own would be run by a shell."""
    plain = text.strip()
    if re.fullmatch(r"--?[\w-]+(?:[= ][\w./:-]+)?", plain):
        return False  # an option of vLLM, with its value
    return bool(_COMMAND.match(plain) or _SHELL.search(plain) or _IN_PROSE.search(plain))


def code_lines(block: str) -> list[str]:
    """Return the commands of a fenced block: continued lines joined, comments left out."""
    inner = block.split("\n")[1:]
    if inner and inner[-1].strip().startswith(("```", "~~~")):
        inner = inner[:-1]
    return _joined("\n".join(inner))


def addresses_in(text: str) -> list[str]:
    """Return the URLs, hosts and link targets of a text."""
    found = [match.group().rstrip(".,;:!?*_") for match in _ADDRESS.finditer(text)]
    found += [a or b for a, b in _LINK.findall(text)]
    rest = _ADDRESS.sub(" ", text)
    found += [match.group().rstrip(".,;:!?*_") for match in _HOST.finditer(rest)]
    return list(dict.fromkeys(found))


def defused(text: str) -> str:
    """Return a struck text so that no address in it can be followed by a click."""
    text = re.sub(r"\b(h)tt(ps?):", r"\1xx\2:", text, flags=re.IGNORECASE)
    return text.replace("](", "] (").replace("~~", "~ ~")


def _joined(block: str) -> list[str]:
    lines = re.sub(r"\\\n\s*", " ", block).split("\n")
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def _plain(text: str) -> str:
    return " ".join(text.split()).removeprefix("$ ")
