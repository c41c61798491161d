"""A checkpoint's own config.json and headers."""

import json
import struct

import pytest

from tools.errors import UsageError
from tools.sizing import checkpoint
from tools.sizing.architecture import model
from tools.sizing.fit import fit
from tools.sizing.request import FitRequest

TEXT = {
    "num_hidden_layers": 60, "hidden_size": 5376, "intermediate_size": 21504,
    "num_attention_heads": 32, "num_key_value_heads": 16, "num_global_key_value_heads": 4,
    "head_dim": 256, "global_head_dim": 512, "sliding_window": 1024, "vocab_size": 262144,
    "max_position_embeddings": 262144, "attention_k_eq_v": True,
    "use_bidirectional_attention": "vision", "tie_word_embeddings": True,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
}  # fmt: skip


def write(folder, config, tensors=None, name="model.safetensors"):
    (folder / "config.json").write_text(json.dumps(config))
    if tensors is not None:
        header = json.dumps(
            {"w": {"dtype": "BF16", "shape": [tensors // 2], "data_offsets": [0, tensors]}}
        )
        (folder / name).write_bytes(
            struct.pack("<Q", len(header)) + header.encode() + b"\0" * tensors
        )
    return str(folder)


def test_the_31b_from_its_config(tmp_path):
    arch, kind, size = checkpoint.read(write(tmp_path, {"text_config": TEXT}))
    known = model("31B")
    assert kind == "bf16"
    assert size == 0
    assert arch.parameters()["attention"] == known.parameters()["attention"]
    assert (arch.sliding, arch.full, arch.k_eq_v) == (50, 10, True)
    found = fit(FitRequest(str(tmp_path), "H200"), advise=False)
    assert found.block_bytes == fit(FitRequest("31B", "H200"), advise=False).block_bytes


def test_headers_give_the_true_size(tmp_path):
    write(tmp_path, TEXT, tensors=4096)
    assert checkpoint.read(str(tmp_path))[2] == 4096
    found = fit(FitRequest(str(tmp_path), "L4"), advise=False)
    assert found.memory.weights.part("checkpoint tensors") == 4096


@pytest.mark.parametrize("name", ["head_dim", "vocab_size", "num_key_value_heads"])
def test_a_missing_field_is_named(tmp_path, name):
    lacking = {key: value for key, value in TEXT.items() if key != name}
    with pytest.raises(UsageError, match=name):
        checkpoint.read(write(tmp_path, {"text_config": lacking}))


def test_half_a_checkpoint(tmp_path):
    write(tmp_path, TEXT, tensors=64, name="model-00001-of-00002.safetensors")
    index = {"weight_map": {f"w{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="1 of 2 shards are missing"):
        checkpoint.read(str(tmp_path))


@pytest.mark.parametrize("cut", [4, 20, 100])
def test_a_file_cut_short(tmp_path, cut):
    write(tmp_path, TEXT, tensors=4096)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UsageError, match="Download it again"):
        checkpoint.read(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_what_is_no_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError):
        checkpoint.read(str(tmp_path))


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"config\.json"):
        checkpoint.read(str(tmp_path))


@pytest.mark.parametrize(
    ("quant", "kind"),
    [
        ({"quant_method": "bitsandbytes"}, "nf4"),
        ({"quant_method": "awq"}, "awq4"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {
            "num_bits": 4, "group_size": 32, "type": "int"}}}}, "w4a16"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {
            "num_bits": 8, "type": "float"}}}}, "fp8"),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "nvfp4"),
        (None, "bf16"),
    ],
)  # fmt: skip
def test_precision(quant, kind):
    assert checkpoint.precision_name({"quantization_config": quant}) == kind
