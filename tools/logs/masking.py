"""Turn a log line into a template: the words stay, what varies becomes ``<*>``.

The template is a function of one line only, so grouping depends neither on the order of the
lines nor on what else was read. It is made in three steps, each feeding the next:

1. ``shape_of``: digits that name a category rather than measure something (HTTP status, exit code,
   signal, dtype, compute capability, the size that an allocation failed at) are set aside;
2. every word that still contains a digit becomes a placeholder;
3. what surrounds a placeholder, or varies without digits (units, dates, paths, host names,
   booleans), joins it.

``docs/patterns.md`` has each rule and its reason.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_CHARS = 4096  # a longer line is cut: beyond this it is data, not a message
PLACEHOLDER = "<*>"

# Inside this module a run of digits is one "0", a placeholder is "0" too, and the control
# characters are markers for digits that stay. A line's own control characters become "0": they
# carry no words.
_BLANK = "\t\n\v\f\r"
_CONTROL = "".join(chr(code) for code in range(32) if chr(code) not in _BLANK)
CLEAN = {ord(c): "0" for c in _CONTROL} | {ord(c): " " for c in _BLANK}
_FORMAT_MARKERS, _CODE_MARKERS, _VERSION = _CONTROL[1:13], _CONTROL[13:26], _CONTROL[26:]
MARKERS = _FORMAT_MARKERS + _CODE_MARKERS
_MARK = r"\x01-\x08\x0e-\x1e"
SEPARATORS = " =:,;()[]<>{}\"'|"
_APART = re.escape(SEPARATORS)
# Starting only at a word's start keeps it linear.
_DIGIT_WORD = re.compile(f"(?<![^{_APART}])[^{_APART}0]*0[^{_APART}]*".encode())
NUMBER = re.compile("[0-9]+")

# The digits of number formats, quantizations and GPU architectures are part of a name.
_END = rb"(?![a-z0-9]|\.[a-z])"
_FORMAT = rb"(?:_e0m0[a-z]{0,4})?"
_FORMATS = re.compile(
    rb"(?<![a-z0-9])(?:(?:nv|mx)?fp0"
    + _FORMAT
    + rb"|bf0|b?float0"
    + _FORMAT
    + rb"|u?int0|w0a0|e0m0[a-z]{0,4}|q0(?:_[0a-z]{1,2}){1,2}|0-?bit|(?:sm|compute)_0[a-z]?)"
    + _END
)

# A number after one of these words names what happened; it does not measure it. Windows' socket
# errors (10061) are the longest codes in use; a longer number is an id.
_CODE_WORD = re.compile(r"[#-]?[0-9]{1,5}[.%]?")
_AFTER = (
    rb"(?:[ _-](?:code|status|signal|with|by|on|of|is|was|[a-z]{1,12}ly))*"
    rb"[\"']?[ :=(\[]{1,3}[\"']?(0)"
)
# Versions of the GPU, and what an allocation asked for: it tells which tensor did not fit.
_AMOUNT_WORD = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[kKMGT]i?[bB]?)?\.?")
# (what a line must hold for the rule to find anything, the rule, what may stand right before it
# though it is a letter, what the word must be), on lines in lower case
_Rule = tuple[bytes, re.Pattern[bytes], tuple[bytes, ...], re.Pattern[str]]
_CODES: tuple[_Rule, ...] = tuple(
    (trigger, re.compile(rule), inside, word)
    for trigger, rule, inside, word in (
        (b"exit", rb"exit(?:ed|s)?" + _AFTER, (), _CODE_WORD),
        (
            b"code",
            b"code" + _AFTER,
            (b"exit", b"return", b"error", b"status", b"response"),
            _CODE_WORD,
        ),
        (b"status", b"status" + _AFTER, (b"exit",), _CODE_WORD),
        (b"signal", b"signal" + _AFTER, (), _CODE_WORD),
        (b"errno", b"errno" + _AFTER, (), _CODE_WORD),
        (b"error", b"error" + _AFTER, (), _CODE_WORD),
        (b"http", rb"http(?:/\x1f(?:\.\x1f)?)?" + _AFTER, (), _CODE_WORD),
        (
            b"capability",
            rb"capability[ :=(]{1,3}(?:of |is |at least ){0,2}(0(?:, ?0)?)",
            (),
            _AMOUNT_WORD,
        ),
        (b"to allocate 0", b"to allocate (0)", (), _AMOUNT_WORD),
        (b"to reserve 0", b"to reserve (0)", (), _AMOUNT_WORD),
    )
)
_FORMAT_DIGITS = re.compile(r"[0-9]+")
_ALNUM = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_ZERO = ord("0")

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sep(?:t|tember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DAY = (
    r"(?:Mon(?:day)?|Tue(?:s|sday)?|Wed(?:nesday)?|Thu(?:r|rs|rsday)?|Fri(?:day)?|Sat(?:urday)?"
    r"|Sun(?:day)?)"
)
_UNIT = (
    r"(?:bytes?|[KMGTkmgt]i?[Bb]|[KMGT]i|B|ns|us|µs|ms|msecs?|milliseconds?|s|secs?|seconds?"
    r"|mins?|minutes?|h|hours?|days?)"
)
_EDGE = r"(?<![^\s=,;()\[\]<>{}\"'|:])"  # at the start, or after a separator
_NAME = r"[A-Za-z_][\w$-]*"
_HOST = (
    r"(?:com|net|org|edu|gov|mil|info|biz|io|dev|app|cloud|local|internal|lan|arpa"
    r"|(?:com?|net?|org?|edu|gov?|ac)\.[a-z]{2})"
)
_CONSTANT = "[Tt]rue|TRUE|[Ff]alse|FALSE|[Nn]ull|NULL|None|nil"
_SPEECH = r"(?!(?i:message|msg|error|err|reason|detail|status|exception)\b)"

# (a text without which the rule can't match, the rule, what stands in its place), in order
_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (needle, re.compile(pattern), replacement)
    for needle, pattern, replacement in (
        # vLLM names the process before each line: "(EngineCore pid=119) INFO …"
        ("pid=0)", r"^\s*\([\w ]{0,64}?\bpid=0\)", "0"),
        # The target of a request: its variables' values name it
        (" ", r"\b(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) [^\s\"]+", r"\1 0"),
        ("://", r"\b[A-Za-z][A-Za-z+.-]{1,15}://[^\s\"'<>|]+", "0"),
        ("/", rf"{_EDGE}/[\w.*@%+~$/-]+", "0"),
        (":", rf"{_EDGE}[A-Z]:(?:\\[^\s\"'<>|,;]*|0\b)", "0"),
        # a MAC address
        (":", r"(?<![\w:])(?:(?:[a-f]{2}|0):){3,7}(?:[a-f]{2}|0)(?![\w:])", "0"),
        ("@", r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}", "0"),
        (".", rf"(?<![\w./-])(?:[\w-]+\.)+{_HOST}(?![\w./-])", "0"),
        (":0", r"(?<![\w./-])(?:[\w-]+\.)+[A-Za-z]{2,}:0", "0"),  # any name with a port
        # An Android or Java component, a logger, a class: a dotted name given as a value
        ("=", rf"(?<==){_NAME}(?:\.[\w$-]+){{2,}}(?![\w$\-{_MARK}])", "0"),
        # A quoted value, unless its key says that it is the message
        ('"', rf"(?<!\w){_SPEECH}(\w+[\"']?\s?[=:]\s?)\"[^\"{_MARK}]*\"", r"\g<1>0"),
        ("'", rf"(?<!\w){_SPEECH}(\w+[\"']?\s?[=:]\s?)'[^'{_MARK}]*'", r"\g<1>0"),
        ("", rf"(?<=[=:])(\s{{0,2}})(?:{_CONSTANT})\b", r"\g<1>0"),
        ("0", rf"\b{_DAY}\b,?(?=\s+(?:{_MONTH}\b|0))", "0"),
        ("0", rf"\b{_MONTH}\b(?=\s+0)|(?<=0\s){_MONTH}\b(?=\s0)", "0"),
        ("0 ", r"(?<=0) (?:[AP]M|GMT|UTC|[ECMP][SD]T)\b", ""),
        ("", r"(?<![\w.-])[a-f]{8,}(?![\w.-])", "0"),
        # Accounts: "user alice", "password for alice from 203.0.113.9"
        ("ser ", r"\b([Uu]ser) (?!0\b)[\w.$-]+(?=\s*$| (?:by|from|at|on)\b| [\[(0])", r"\1 0"),
        (" from 0", r"\b(for) (?!0\b)[\w.$-]+(?= from 0)", r"\1 0"),
        ("", r"[\u2580-\u259f]+|[\^~]{2,}", "0"),  # progress bars, carets under a line of source
        ("0", rf"[<>~≈]?\b0\s?{_UNIT}\b(?![\w(/])", "0"),
        ("  ", r" +", " "),
        # "0 (0)", "0, 0 0", "0:0", "0 ()" are one value, or a list of them
        ("0", r"0(?:[ ,;:&=]{0,3}(?:0|\( ?0? ?\)|\[ ?0? ?\]))+", "0"),
    )
)


def clean(text: str) -> str:
    """Return a line cut to ``MAX_CHARS``, its white space and control characters made plain."""
    text = text[:MAX_CHARS]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text if text.isprintable() else text.translate(CLEAN)


@dataclass(frozen=True, slots=True)
class Shape:
    """A line with its words that hold digits written "0", save those whose digits stay.

    ``text`` has a marker in the place of each value that stays, ``words`` by marker what such a
    value must be to stay, ``nth`` by marker which of the "0" of the line it was, from 0.
    """

    text: bytes
    words: dict[str, re.Pattern[str]]
    nth: dict[str, int]


def template_of(text: str) -> str:
    """Return the template of a line: ``<*>`` for what varies, single spaces, at most 4,096 chars.

    >>> template_of("Container called exit(137) after 12.5 s on 10.0.0.7:8000")
    'Container called exit(137) after <*> on <*>'
    """
    return templates_of(text)[0]


def templates_of(text: str) -> tuple[str, str]:
    """Return a line's template, and that with placeholders for the digits that it keeps."""
    text = clean(text)
    key = NUMBER.sub("0", text).encode()
    marked = mark_formats(mark_versions(key))
    shape = shape_of(_DIGIT_WORD.sub(b"0", marked))
    if not shape.words:
        template = skeleton_of(shape.text)
        return template, template
    values: dict[str, str] = {}
    numbers = NUMBER.findall(text)
    spans = [match.span() for match in _DIGIT_WORD.finditer(marked)]
    for marker in shape.words:
        if marker in shape.nth:
            start, end = spans[shape.nth[marker]]
        else:
            start = marked.index(marker.encode())
            end = start + 1
        run = key.count(b"0", 0, start)
        pieces = key[start:end].split(b"0")
        value = pieces[0].decode()
        for piece, number in zip(pieces[1:], numbers[run:], strict=False):
            value += number + piece.decode()
        values[marker] = value
    return fill_shape(shape, values), fill_shape(shape, dict.fromkeys(values, ""))


def second_key(key: bytes) -> bytes:
    """Return a line with its runs of digits, and then its words that hold one, written "0"."""
    return _DIGIT_WORD.sub(b"0", mark_formats(mark_versions(key)))


def mark_versions(key: bytes) -> bytes:
    """Return the key, or many, with the digits of ``HTTP/1.1`` marked as none of a word's."""
    if b"HTTP/0" not in key:
        return key
    return key.replace(b"HTTP/0.0", b"HTTP/\x1f.\x1f").replace(b"HTTP/0", b"HTTP/\x1f")


def mark_formats(key: bytes) -> bytes:
    """Return the key with the digits of number formats and the like as markers."""
    marked: bytearray | None = None
    markers = iter(_FORMAT_MARKERS)
    for match in _FORMATS.finditer(key.lower()):
        for place in range(*match.span()):
            if key[place] == _ZERO and (marker := next(markers, None)) is not None:
                marked = marked or bytearray(key)
                marked[place] = ord(marker)
    return bytes(marked) if marked else key


def shape_of(second: bytes) -> Shape:
    """Return the shape of a line whose words that hold digits read "0", formats marked."""
    words = {chr(code): _FORMAT_DIGITS for code in second if chr(code) in _FORMAT_MARKERS}
    places: dict[int, re.Pattern[str]] = {}
    low = second.lower()
    for trigger, rule, inside, word in _CODES:
        if trigger in low:
            for match in rule.finditer(low):
                start = match.start()
                if (
                    start
                    and low[start - 1] in _ALNUM
                    and not low.endswith(inside or b"\0", 0, start)
                ):
                    continue
                for place in range(*match.span(1)):
                    if low[place] == _ZERO:
                        places.setdefault(place, word)
    nth: dict[str, int] = {}
    marked = bytearray(second)
    for marker, place in zip(_CODE_MARKERS, sorted(places), strict=False):
        nth[marker] = second.count(b"0", 0, place)
        words[marker] = places[place]
        marked[place] = ord(marker)
    return Shape(bytes(marked), words, nth)


def fill_shape(shape: Shape, values: Mapping[str, str]) -> str:
    """Return the template of a shape's lines with these values by marker."""
    text = shape.text
    for marker, word in shape.words.items():
        if not word.fullmatch(values[marker]):
            text = text.replace(marker.encode(), b"0")
    return fill(skeleton_of(text), values)


def skeleton_of(shape: bytes) -> str:
    """Return the template of a shape's text, its markers still in it."""
    masked = shape.replace(b"\x1f.\x1f", b"0").replace(b"\x1f", b"0").decode()
    for needle, pattern, replacement in _RULES:
        if needle in masked:
            masked = pattern.sub(replacement, masked)
    return masked.strip(" ").replace("0", PLACEHOLDER)


def fill(skeleton: str, values: Mapping[str, str]) -> str:
    """Return the skeleton with each marker written as its value."""
    for marker, value in values.items():
        skeleton = skeleton.replace(marker, value)
    return skeleton


def template_id(template: str) -> str:
    """Return the stable id of a template: 12 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def template_regex(template: str) -> str:
    r"""Return an anchored regular expression, safe for RE2, that matches the template's lines.

    A placeholder matches anything, nothing included; a space matches any white space. The
    template of a line that may have been cut matches whatever follows it.
    """
    end = r"[\s\v]*$" if len(template) < MAX_CHARS else ""
    parts = [
        r"[\s\v]+".join(_escape(piece) for piece in part.split(" "))
        for part in template.split(PLACEHOLDER)
    ]
    return r"(?s)^[\s\v]*" + r".*?".join(parts) + end


def _escape(text: str) -> str:
    # re.escape also escapes characters that RE2 does not know as escapes, such as \# and \&.
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
