"""The eight sections of a draft, from evidence alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

from runbooks.draft_case import DraftCase, Quoted, join_ids
from runbooks.draft_signature import Signature, healthy_lines
from runbooks.draft_words import split_words
from tools.logs.suspects import option_text

NOT_REVIEWED = "**Draft, not reviewed.**"
MAX_FIRST = 300  # characters of the words in the first sentence
MAX_SHOWN = 12  # pieces of evidence written into the file
_FENCE = re.compile(r"^(\s*(?:```|~~~))", re.MULTILINE)
_SAFE = re.compile(r"[A-Za-z][A-Za-z0-9 _.,:()/-]*")
_SHOWN_OPTIONS = (
    *("model", "quantization", "dtype", "kv_cache_dtype", "max_model_len", "max_num_seqs"),
    *("max_num_batched_tokens", "gpu_memory_utilization", "tensor_parallel_size"),
    *("linear_backend", "attention_backend", "enforce_eager"),
)
_PLACE = '--region "$REGION" --project "$PROJECT"'

_DEPLOY = f"""\
```bash
gcloud run services describe "$SERVICE" {_PLACE} --format export > service.yaml
cp service.yaml service.before.yaml
# edit the args in service.yaml, and remove the revision name under spec.template.metadata
gcloud run services replace service.yaml {_PLACE}
```"""
_BACK = f"""\
```bash
gcloud run services update-traffic "$SERVICE" {_PLACE} --to-revisions "$LAST_READY=100"
```"""
_CHECK = f"""\
```bash
gcloud run revisions list --service "$SERVICE" {_PLACE} --limit 2
curl -fsS -H "Authorization: Bearer $(gcloud auth print-identity-token)" "$URL/health"
```"""
_RESTORE = f"""\
```bash
gcloud run services replace service.before.yaml {_PLACE}
```"""


def sections_of(case: DraftCase, signature: Signature, day: date) -> dict[str, str]:
    """Return the sections by name, each honest about what is not known."""
    cloud_run = case.platform == "cloud-run"
    return {
        "Meaning": _meaning(case, day),
        "Impact": _impact(case),
        "Diagnosis": _diagnosis(case, cloud_run),
        "Mitigation": _mitigation(case, cloud_run),
        "Verify": _verify(case, cloud_run),
        "Rollback": _rollback(cloud_run),
        "Escalate": "If the same words come back after the options were checked, report the lines "
        "under Evidence, the version of vLLM, the model and the card to its maintainers.",
        "Evidence": _evidence(case, signature),
    }


def fenced(text: str) -> str:
    """Return foreign text as a code block that it can't leave."""
    inside = _FENCE.sub(r"· \1", text.strip("\n"))
    return f"```text\n{inside}\n```"


def _meaning(case: DraftCase, day: date) -> str:
    process = case.process.partition(" pid=")[0]
    where = f"The process {process}" if process else "The server"
    first = _inline((case.spoken.text.splitlines() or [""])[0])[:MAX_FIRST].rstrip()
    verb = "ends with" if case.spoken.type else "prints"
    if case.spoken.on in ("platform", "control_plane"):
        where = "The platform" if case.spoken.on == "platform" else "The control plane"
    parts = [
        f"{NOT_REVIEWED} Written on {day} from {_plain(case.source)}; no person has checked it.",
        f"{where} {verb} `{first}` {join_ids(case.told)}.",
    ]
    if "\n" in case.spoken.text.strip():
        parts += ["The words in full:", fenced(case.spoken.text)]
    if case.frames:
        parts.append(f"It happened in {', called from '.join(_codes(reversed(case.frames[-3:])))}.")
    if case.suspects:
        names = option_text(case.suspects)
        ids = join_ids(case.config[:1])
        parts.append(
            f"Its words point at options of the launch: `{_inline(names)}` {ids}. That is a reason "
            "to look there first, not a proof."
        )
    parts.append(
        "Why it happens is not known beyond these words: no runbook of the library recognises it."
    )
    return "\n\n".join(part.strip() for part in parts)


def _impact(case: DraftCase) -> str:
    found = []
    if case.ended:
        code = case.facts.get("logs.exit_code")
        status = f" with status {code}" if code is not None else ""
        found.append(f"The platform says that the container ended{status} {join_ids(case.ended)}.")
    if case.facts.get("logs.ready") is False:
        found.append("The newest start did not become ready.")
    if case.count > 1:
        what = "diagnoses" if case.kind == "incident" else "lines"
        found.append(f"It was seen in {case.count} {what}.")
    return " ".join(found) or "What it means for callers can't be told from this evidence."


def _diagnosis(case: DraftCase, cloud_run: bool) -> str:
    parts = []
    snippet = search_words(case)
    if cloud_run and snippet:
        parts += [
            "See whether the newest revision says the same:",
            f'```bash\ngcloud logging read "resource.type=cloud_run_revision AND '
            f'resource.labels.service_name=$SERVICE AND textPayload:\\"{snippet}\\"" '
            '--project "$PROJECT" --limit 20 --format "value(timestamp,textPayload)"\n```',
        ]
    elif snippet:
        parts += [
            "See whether the newest log says the same:",
            f'```bash\ngrep -F "{snippet}" server.log\n```',
        ]
    if case.launch is not None and case.launch.args:
        shown = [(n, case.launch.args[n]) for n in _SHOWN_OPTIONS if n in case.launch.args]
        version = f"vLLM {case.launch.version}, " if case.launch.version else ""
        parts.append(
            f"The process was started with {version}`{_inline(option_text(shown))}` "
            f"{join_ids(case.config[:1])}. Compare with the options of a start that worked."
        )
    if case.launch is not None and case.launch.unknown_env:
        names = ", ".join(f"`{_inline(name)}`" for name in case.launch.unknown_env)
        parts.append(f"Variables that vLLM did not know, so that they had no effect: {names}.")
    if case.skipped:
        shown_lines = "\n".join(f"- {_plain(line)}" for line in case.skipped[:6])
        parts.append(f"Printed besides, and not the cause:\n\n{shown_lines}")
    if case.shows_as:
        names = ", ".join(f"{title} (`{key}`)" for key, title in case.shows_as)
        parts.append(f"It showed itself as: {names}.")
    if case.similar:
        parts.append("Earlier incidents like it: " + "; ".join(map(_plain, case.similar)) + ".")
    else:
        parts.append("No similar incident is recorded.")
    return "\n\n".join(parts)


def _mitigation(case: DraftCase, cloud_run: bool) -> str:
    parts = ["No fix has been tested."]
    if case.suspects:
        parts[0] += (
            f" Look first at `{_inline(option_text(case.suspects))}`: change it or take it out."
        )
    if not cloud_run:
        return parts[0] + " Start again with the options of the last start that worked."
    parts.append("Go back to the last revision that became ready:")
    parts.append(_BACK)
    if case.suspects:
        parts += ["Or deploy with changed options:", _DEPLOY]
    return "\n\n".join(parts)


def _verify(case: DraftCase, cloud_run: bool) -> str:
    text = "The newest start reaches `Application startup complete`, and the words above are gone."
    del case
    return f"{text}\n\n{_CHECK}" if cloud_run else text


def _rollback(cloud_run: bool) -> str:
    if not cloud_run:
        return "Start again with the options that were set before."
    return (
        "Restore the definition that was saved before the change; traffic follows it once it is "
        f"ready.\n\n{_RESTORE}\n\nOr send the traffic back by hand:\n\n{_BACK}"
    )


def _evidence(case: DraftCase, signature: Signature) -> str:
    parts = [f"From {_plain(case.source)}."]
    cited = [*case.told, *case.config, *case.ended]
    ordered = sorted(case.evidence, key=lambda item: item.id not in cited)
    for item in ordered[: max(MAX_SHOWN, len(cited))]:
        parts += [_head(item), fenced(item.text)]
    parts.append(
        f"The signature was tried on {signature.must_match} texts that it must match (the "
        "evidence, and the same words with other values) and on "
        f"{signature.must_not_match} that it must not: the lines of the other runbooks, "
        f"{len(case.before)} texts of the log before the failure, and {len(healthy_lines())} "
        "lines of a healthy start. It passed them all."
    )
    if signature.overlaps:
        names = ", ".join(f"`{name}`" for name in signature.overlaps)
        parts.append(f"It stands in for {names}, whose lines it matches too.")
    return "\n\n".join(parts)


def _head(item: Quoted) -> str:
    place = " ".join(part for part in (item.source, f"`{_inline(item.ref)}`", item.time) if part)
    return f"- **{item.id}** {place}"


def search_words(case: DraftCase) -> str:
    """Return the longest run of the failure's words that can stand in a command, or ""."""
    first = (case.spoken.message.splitlines() or [""])[0]
    # Only what stays from case to case: a layer's name or a size would find this one alone.
    fixed = [part.text for part in split_words(first, case.spoken.values) if not part.kind]
    runs = [run.strip(" :,.(/-") for text in fixed for run in _SAFE.findall(text)]
    best = max(runs, key=len, default="")[:80].strip(" :,.(/-")
    return best if len(best) >= 12 else ""


def _plain(text: str) -> str:
    """Return foreign text on one line that can't be a heading or a fence."""
    return " ".join(text.replace("`", "'").split()).lstrip("#-~ ")


def _inline(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _codes(frames: Iterable[str]) -> list[str]:
    return [f"`{_inline(frame)}`" for frame in frames]
