"""A Gemma-family checkpoint read from its config.json or its folder, in place of the table."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.errors import UsageError
from tools.sizing.architecture import Architecture

_NEEDED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
           "head_dim", "intermediate_size", "vocab_size", "sliding_window")  # fmt: skip
_HEADER_LIMIT = 100 * 2**20


def is_local(name: str) -> bool:
    """Return whether ``name`` is a path that exists, or that is written as one."""
    return name.startswith((".", "/", "~")) or name.endswith(".json") or Path(name).is_dir()


def read(name: str) -> tuple[Architecture, str, int]:
    """Return the architecture, the precision's name and the tensors' bytes (0: not known).

    Raises UsageError when the path, a field of config.json or a shard is missing.
    """
    path = Path(name).expanduser()
    file = path / "config.json" if path.is_dir() else path
    if not file.exists():
        fix = "Point at a folder with a config.json, or at the file." if path.exists() else ""
        raise UsageError(f"There is no {file}.", fix=fix or "Check the path.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read as JSON: {error}.") from None
    if not isinstance(config, dict):
        raise UsageError(f"{file} is not a JSON object.", fix="Is it a model's config.json?")
    size = tensor_bytes(path) if path.is_dir() else 0
    return architecture(config, str(file)), precision_name(config), size


def architecture(config: Mapping[str, Any], where: str) -> Architecture:
    """Return the architecture that a config.json describes.

    Raises UsageError naming the field that it lacks.
    """
    text = config.get("text_config", config)
    for name in _NEEDED:
        value = text.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise UsageError(
                f"{where} has no usable {name!r}.",
                fix="It is needed to size the model; is this the whole config.json?",
            )
    layers = text["num_hidden_layers"]
    kinds = text.get("layer_types")
    if kinds is None:
        every = text.get("sliding_window_pattern", 6)
        kinds = [
            "full_attention" if index % every == every - 1 else "sliding_attention"
            for index in range(layers)
        ]
    if len(kinds) != layers:
        raise UsageError(f"{where} has {len(kinds)} layer_types for {layers} layers.")
    shared = int(text.get("num_kv_shared_layers") or 0)
    if not 0 <= shared < layers:
        raise UsageError(f"{where}: num_kv_shared_layers {shared} of {layers} layers.")
    last = kinds[layers - shared :] if shared else []
    hidden, vision, audio = (
        text["hidden_size"],
        config.get("vision_config"),
        config.get("audio_config"),
    )
    experts = int(text.get("num_experts") or 0)
    return Architecture(
        name=str(config.get("_name_or_path") or Path(where).parent.name or "checkpoint"),
        sliding=kinds.count("sliding_attention"),
        full=layers - kinds.count("sliding_attention"),
        shared_sliding=last.count("sliding_attention"),
        shared_full=len(last) - last.count("sliding_attention"),
        hidden=hidden,
        intermediate=text["intermediate_size"],
        q_heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        global_kv_heads=text.get("num_global_key_value_heads") or text["num_key_value_heads"],
        head_dim=text["head_dim"],
        global_head_dim=text.get("global_head_dim") or text["head_dim"],
        window=text["sliding_window"],
        vocabulary=text["vocab_size"],
        context=text.get("max_position_embeddings", 131072),
        other=4 * layers * hidden + (layers * hidden * experts if experts else 0),
        k_eq_v=bool(text.get("attention_k_eq_v")),
        double_wide_shared=bool(text.get("use_double_wide_mlp")) and bool(shared),
        ple=int(text.get("hidden_size_per_layer_input") or 0),
        experts=experts,
        experts_per_token=int(text.get("top_k_experts") or text.get("num_experts_per_tok") or 0),
        expert_intermediate=int(text.get("moe_intermediate_size") or 0),
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))),
        bidirectional_vision=text.get("use_bidirectional_attention") == "vision",
        vision=_tower(vision),
        audio=_tower(audio),
        mm_embed_vision=(vision.get("hidden_size", 0) * hidden if vision else 0),
        mm_embed_audio=(audio.get("hidden_size", 0) * hidden if audio else 0),
        source=where,
    )


def precision_name(config: Mapping[str, Any]) -> str:
    """Return the precision that a config.json's quantization_config says, or ``bf16``."""
    quant = config.get("quantization_config")
    if not isinstance(quant, Mapping):
        return "bf16"
    method = str(quant.get("quant_method", ""))
    if method in {"bitsandbytes", "awq", "gptq", "fp8"}:
        return {"bitsandbytes": "nf4", "awq": "awq4", "gptq": "awq4"}.get(method, method)
    if "nvfp4" in json.dumps(quant).casefold():
        return "nvfp4"
    for group in (quant.get("config_groups") or {}).values():
        weights = group.get("weights") or {}
        bits, kind = weights.get("num_bits"), weights.get("type")
        if bits == 4:
            return "w4a16" if weights.get("group_size") == 32 else "awq4"
        if bits == 8:
            return (
                "fp8" if kind == "float" else "w8a8" if group.get("input_activations") else "w8a16"
            )
    return "bf16"


def tensor_bytes(folder: Path) -> int:
    """Return the bytes of all tensors, from the safetensors headers.

    Raises UsageError when shards that the index names are missing, or a file is cut short.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise UsageError(f"{index} can't be read.", fix="Download it again.") from None
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
            raise UsageError(
                f"{folder} holds half a checkpoint: {len(missing)} of {len(names)} shards are "
                f"missing ({shown}).",
                fix="Finish the download, or give the config.json alone.",
            )
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    return sum(_safetensors(folder / name) for name in names)


def _safetensors(path: Path) -> int:
    # Format: 8 bytes little-endian header length, a JSON header, the tensors
    # (huggingface/safetensors README).
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, _HEADER_LIMIT):
                raise ValueError("header longer than the file")
            header = json.loads(file.read(length))
        ends = [
            int(entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        raise UsageError(
            f"{path} is no whole safetensors file.", fix="Download it again."
        ) from None
    tensors = max(ends, default=0)
    if 8 + length + tensors > size:
        raise UsageError(
            f"{path} is cut short: {size:,} of {8 + length + tensors:,} bytes.",
            fix="Download it again.",
        )
    return tensors


def _tower(config: Mapping[str, Any] | None) -> int:
    # Attention and a gated MLP a layer: an estimate; a folder's headers give the true size.
    if not config:
        return 0
    hidden = int(config.get("hidden_size") or 0)
    inner = int(config.get("intermediate_size") or 4 * hidden)
    layers = int(config.get("num_hidden_layers") or config.get("conf_num_hidden_layers") or 0)
    return layers * (4 * hidden * hidden + 3 * hidden * inner)
