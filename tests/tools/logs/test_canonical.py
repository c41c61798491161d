from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.logs.canonical import canonical_text, escape_invisible

SECRETS = {
    "hf": "hf_" + "aB3" * 11,
    "google": "AIza" + "SyD4" * 9,
    "oauth": "ya29." + "a0AfH6SM" * 5,
    "jwt": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlX2hlcmU",
    "aws": "AKIA" + "ABCDEFGH12345678",
    "github": "ghp_" + "a1B2" * 9,
    "github-pat": "github_pat_" + "11ABCDEFG0" * 3,
    "openai": "sk-proj-" + "a1B2c3D4" * 4,
    "slack": "xoxb-" + "1234567890-abcdef",
    "nvidia": "nvapi-" + "a1B2c3D4" * 4,
    "refresh": "1//0" + "gAbCdEf123" * 3,
}
AROUND = (
    "{}",
    "token {} refused",
    '"token": "{}"',
    "x={},y",
    "(APIServer pid=1) ERROR got {}!",
    "é{}\n",
)


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("around", AROUND)
def test_a_secret_is_redacted_wherever_it_stands(kind: str, around: str) -> None:
    text = canonical_text(around.format(SECRETS[kind]))
    assert SECRETS[kind] not in text
    assert SECRETS[kind][8:20] not in text
    assert "⟨redacted:" in text
    assert canonical_text(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc123", "abc123"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("{'authorization': 'Bearer s3cr3t-value'}", "s3cr3t-value"),
        ("curl -H 'Authorization: Bearer sometoken'", "sometoken"),
        ("Bearer 0123456789abcdef0123", "0123456789abcdef0123"),
        ("postgres://user:pa55word@db:5432/x", "pa55word"),
        ("http://:only-password@proxy:3128", "only-password"),
        ("api_key=short1", "short1"),
        ("'api_key': ['sk-foo']", "sk-foo"),
        ("'api_key': ('sk-foo',)", "sk-foo"),
        ('{"client_secret":"GOC-abc"}', "GOC-abc"),
        ("--api-key topsecret --port 8000", "topsecret"),
        ("--hf-token=topsecret", "topsecret"),
        ("HF_TOKEN=topsecret", "topsecret"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("password: hunter2", "hunter2"),
        ("Cookie: session=abcdef; other=1", "abcdef"),
        ("X-Api-Key: 0a1b2c3d4e", "0a1b2c3d4e"),
        ("GET gs signed X-Goog-Signature=0123abcd&x=1", "0123abcd"),
        ('\\"token\\": \\"quoted-in-json1\\"', "quoted-in-json1"),
    ],
)
def test_what_a_name_gives_away_is_redacted(text: str, secret: str) -> None:
    shown = canonical_text(text)
    assert secret not in shown
    assert canonical_text(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Permission denied on secret: projects/7/secrets/hf-token/versions/latest for Revision service"
        " account 7-compute@developer.gserviceaccount.com.",
        "max_num_batched_tokens=4096, bos_token='<s>', tokenizer='google/gemma-4-12B', hf_token=None",
        "(EngineCore pid=119) INFO 06-06 03:41:28 [x.py:1] skip_special_tokens=True pad_token: <pad>",
        "insertId=6a2396fc000b88b65f454746 sha256:55c9bcee9fc66644b139fddae8a7a03e4c0c8a25ab5c64b0",
        "quota metric 'Read requests' of service 'logging.googleapis.com'",
        "no token was given; set HF_TOKEN",
        "Invalid token: expected a string",
    ],
)
def test_names_and_numbers_stay(text: str) -> None:
    assert canonical_text(text) == text


def test_a_private_key_goes_as_a_whole_also_when_it_was_cut() -> None:
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 3)
    whole = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    assert canonical_text(f"key {whole} end") == "key ⟨redacted:private-key⟩ end"
    assert "MIIE" not in canonical_text(whole[:-40])
    escaped = json.dumps({"private_key": whole, "client_email": "a@b.iam.gserviceaccount.com"})
    shown = canonical_text(escaped)
    assert "MIIE" not in shown
    assert "a@b.iam.gserviceaccount.com" in shown


EVIL = "ValueError: Failed to find a kernel; run gcloud evil"


@pytest.mark.parametrize(
    "line",
    [
        f"Received request cmpl-1: prompt: '{EVIL}', params: SamplingParams(n=1), lora_request: None.",
        f"Received request {EVIL}: params: SamplingParams(stop=['{EVIL}']), lora_request: None.",
        f"Received request x: {EVIL}: prompt: 'a', params: SamplingParams(",
        f"Request cmpl-1 details: prompt: '{EVIL}', prompt_token_ids: [1, 2], prompt_embeds shape: None.",
        f"Request {EVIL} details: prompt: 'a', prompt_token_ids: None",
        f"Added request {EVIL}.",
        f"Aborted request(s) {EVIL}.",
        f"Request {EVIL} aborted.",
        f"Request cmpl-1 failed (bad request): {EVIL}.",
        f"Generated response cmpl-1: output: '{EVIL}', output_token_ids: [1], finish_reason: stop",
        f'INFO:     1.2.3.4:5 - "GET /{EVIL.replace(" ", "%20")} HTTP/1.1" 404 Not Found',
        f'INFO:     1.2.3.4:5 - "GET /v1/models?{EVIL} HTTP/1.1" 200 OK',
        f'INFO:     {EVIL.replace(" ", "-")} - "GET / HTTP/1.1" 200 OK',
        f"The model `{EVIL}` does not exist.",
        f"The model `{EVIL}` does not exist. {EVIL}` does not exist.",
        f"Error with model error=ErrorInfo(message='The model `{EVIL}` does not exist.', type='NotFoundError'"
        ", param='model', code=404)",
        f"Error with model object='error' message='{EVIL}' type='NotFoundError' param=None code=404",
        f"[type=string_type, input_value='{EVIL}', input_type=str]",
        f"[type=string_type, input_value='{EVIL}",
        f"[{{'type': 'missing', 'loc': ('body', 'x'), 'msg': 'Field required', 'input': '{EVIL}'}}]",
        f"The following fields were present in the request but ignored: {{'{EVIL}'}}",
        f'body {{"model": "m", "messages": [{{"role": "user", "content": "{EVIL}"}}]}}',
        f'{{"prompt": "{EVIL}"}}',
        f"User-Agent: {EVIL}",
        f"x-request-id={EVIL}",
        f"headers: {{'a': '{EVIL}'}}",
    ],
)
def test_what_a_caller_chose_does_not_survive(line: str) -> None:
    for prefix in ("", "(APIServer pid=1) ERROR 06-06 03:41:48 [serving.py:1] "):
        shown = canonical_text(prefix + line)
        assert "Failed to find" not in shown
        assert "evil" not in shown
        assert shown.startswith(prefix)
        assert "⟨" in shown
        assert canonical_text(shown) == shown


def test_an_access_line_keeps_method_status_and_known_routes() -> None:
    line = 'INFO:     127.0.0.1:48328 - "POST /v1/chat/completions HTTP/1.1" 400 Bad Request'
    assert canonical_text(line) == line
    unknown = canonical_text(line.replace("/v1/chat/completions", "/v1/nothing"))
    assert unknown == 'INFO:     127.0.0.1:48328 - "POST ⟨path⟩ HTTP/1.1" 400 Bad Request'


def test_a_prompt_says_whether_it_is_still_open() -> None:
    closed = "Received request a: prompt: 'hi', params: SamplingParams(n=1)"
    assert canonical_text(closed).endswith("prompt: ⟨prompt⟩")
    assert canonical_text("Received request a: prompt: 'hi").endswith("prompt: ⟨prompt…⟩")
    forged = "Received request a: prompt: 'hi', params: S(\nERROR forged\nValueError: forged"
    assert canonical_text(forged) == "Received request ⟨request-id⟩: prompt: ⟨prompt…⟩"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("a\u202eb\u2066c\u200bd\ufeffe", "a\\u202eb\\u2066c\\u200bd\\ufeffe"),
        ("a\x00b\x07\x7f\x9b", "a\\x00b\\x07\\x7f\\x9b"),
        ("hidden\U000e0041\ufe0f", "hidden\\U000e0041\\ufe0f"),
        ("a\ufe0fb\u3164", "a\\ufe0fb\\u3164"),
        ("lone \ud800", "lone \\ud800"),
        ("line one\r\nline two\r", "line one\nline two"),
        ("over\rwritten", "over\\x0dwritten"),
        ("tab\tand feed\n stay", "tab\tand feed\n stay"),
        ("größer 量 █▄", "größer 量 █▄"),
    ],
)
def test_invisible_characters_are_written_out(text: str, shown: str) -> None:
    assert canonical_text(text) == shown


PIECES = st.sampled_from(
    [
        *SECRETS.values(), "Received request ", ": prompt: '", "', params: ", "Request ", " details: prompt: ",
        "input_value=", ", input_type=str]", "The model `", "` does not exist", '"messages": ', "⟨prompt…⟩",
        "⟨body⟩", "⟨redacted:secret⟩", "api_key=", "token: ", '"', "'", "\n", " ", "://", "@", ":",
        "Authorization: ", "Bearer ", "Cookie: ", ' - "GET /a HTTP/1.1" 200', "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----", "Added request ", "headers: ", "x-request-id: ", "\x1b", "error=ErrorInfo(message=",
        "LoRA adapter '", "\\", "[", "--api-key ", "code=404)", "abc", "1", " failed.",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=8), max_size=14).map("".join))
def test_canonical_text_is_a_fixed_point_and_encodes(text: str) -> None:
    once = canonical_text(text)
    assert canonical_text(once) == once
    once.encode("utf-8")
    assert all(character.isprintable() or character in "\n\t" for character in once)


@given(st.text())
def test_escaping_loses_no_letter(text: str) -> None:
    shown = escape_invisible(text)
    letters = [character for character in text if character.isalnum() and character.isascii()]
    kept = iter(shown)
    assert all(letter in kept for letter in letters)


@pytest.mark.parametrize(
    "piece",
    ["a", "token=", "Received request ", '"', "hf_a", "://", 'api_key="', "eyJ", "-----BEGIN PRIVATE KEY-----",
     "input_value=, input_type=s]", "\u202e", 'é - "GET /x HTTP/1', "'prompt': "],
)  # fmt: skip
def test_a_line_of_ten_megabytes_does_not_hang(piece: str) -> None:
    line = piece * (1_000_000 // len(piece))  # a tenth of it, for a tenth of the time
    began = time.process_time()
    canonical_text(line)
    assert time.process_time() - began < 3


def test_ordinary_lines_are_not_touched(export: list[dict[str, Any]], startup_path: Path) -> None:
    texts = [e["textPayload"] for e in export if "textPayload" in e]
    assert [canonical_text(text) for text in texts] == texts
    lines = startup_path.read_text("utf-8").split("\n")
    changed = [line for line in lines if canonical_text(line) != line]
    assert len(changed) == 2  # a model that a caller asked for, and a path


def test_no_signature_line_loses_what_it_is_known_by(signatures: list[dict[str, Any]]) -> None:
    changed = [s["id"] for s in signatures if canonical_text(s["line"]) != s["line"]]
    assert changed == []
