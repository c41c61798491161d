"""The snapshot of the options, and how it is made of a help text."""

from tools.serving.snapshot import compile_help, snapshot, switches

HELP = """\
usage: vllm serve [model_tag] [options]

options:
  --api-server-count API_SERVER_COUNT, -asc API_SERVER_COUNT
                        How many. (default: None)
  --enforce-eager, --no-enforce-eager
                        Whether. (default: False)
  --kv-cache-dtype {auto,fp8}
                        Which.
  --limit-mm-per-prompt LIMIT_MM_PER_PROMPT
                        Should either be a valid JSON string or JSON keys
                        passed individually. (default: {})
  --tool-call-parser {a,b} or name registered in --tool-parser-plugin
                        Which.
  --sizes SIZES [SIZES ...]
                        Many.
"""


def test_a_help_text():
    assert compile_help(HELP) == {
        "api-server-count": {"also": ["-asc"]},
        "enforce-eager": {"also": ["no-enforce-eager"], "switch": True},
        "kv-cache-dtype": {"choices": ["auto", "fp8"]},
        "limit-mm-per-prompt": {"json": True},
        "tool-call-parser": {"choices": ["a", "b"], "open": True},
        "sizes": {"many": True},
    }


def test_what_ships():
    found = snapshot("0.32.0")
    assert found.version == "0.32"
    assert len({option.name for option in found.names.values()}) > 300
    assert found.find("--max_model_len").name == "max-model-len"
    assert found.find("limit-mm-per-prompt.image").name == "limit-mm-per-prompt"
    assert found.find("max") is None  # more than one option begins so
    assert "enforce-eager" in switches()
    assert "max-model-len" not in switches()
