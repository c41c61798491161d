"""What a Gemma checkpoint is made of: layers, heads, and parameters by tensor class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tools.sizing.tables import find, table


@dataclass(frozen=True)
class Shape:
    """One Linear of a decoder layer, output rows first, and how tensor parallelism cuts it.

    ``heads`` is the number of KV heads in ``kv_rows`` of the rows: those are copied, not cut,
    where there are more ranks than heads.
    """

    kind: str  # attention, mlp, experts, ple
    rows: int
    columns: int
    copies: int = 1
    cut: str = "rows"  # rows | columns | experts
    kv_rows: int = 0
    heads: int = 0


@dataclass(frozen=True)
class Architecture:
    """The numbers of one model; counts are of parameters, lengths of tokens."""

    name: str
    sliding: int  # layers of each type
    full: int
    shared_sliding: int  # of those, the ones that read another layer's KV
    shared_full: int
    hidden: int
    intermediate: int
    q_heads: int
    kv_heads: int
    global_kv_heads: int
    head_dim: int
    global_head_dim: int
    window: int
    vocabulary: int
    context: int
    other: int
    k_eq_v: bool = False
    double_wide_shared: bool = False
    ple: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    tied: bool = True
    bidirectional_vision: bool = False
    vision: int = 0
    audio: int = 0
    mm_embed_vision: int = 0
    mm_embed_audio: int = 0
    drafter: int = 0
    hub: str = ""
    source: str = ""

    @property
    def layers(self) -> int:
        """Return the number of decoder layers."""
        return self.sliding + self.full

    @property
    def multimodal(self) -> bool:
        """Return whether the checkpoint has towers or embedders for images or sound."""
        return bool(self.vision or self.audio or self.mm_embed_vision)

    @property
    def embedding(self) -> int:
        """Return the parameters of the token embedding, which is the lm_head too when tied."""
        return self.vocabulary * self.hidden

    @property
    def ple_table(self) -> int:
        """Return the parameters of the per-layer embedding table."""
        return self.vocabulary * self.layers * self.ple

    @property
    def ple_model_projection(self) -> int:
        """Return the parameters of the one model-wide per-layer projection."""
        return self.hidden * self.layers * self.ple

    def linears(self) -> tuple[tuple[int, tuple[Shape, ...]], ...]:
        """Return (number of layers, the Linears of one) for each kind of layer, as loaded.

        A layer with k_eq_v has no V in the checkpoint, but vLLM loads K into both slots
        (vllm 0.32 gemma4.py, QKVParallelLinear).
        """
        own_sliding = self.sliding - self.shared_sliding
        own_full = self.full - self.shared_full
        kinds = (
            (own_sliding, False, False),
            (own_full, True, False),
            (self.shared_sliding, False, True),
            (self.shared_full, True, True),
        )
        return tuple(
            (count, self._layer(is_full=is_full, shared=shared))
            for count, is_full, shared in kinds
            if count
        )

    def _layer(self, *, is_full: bool, shared: bool) -> tuple[Shape, ...]:
        dim = self.global_head_dim if is_full else self.head_dim
        heads = self.global_kv_heads if is_full else self.kv_heads
        query = self.q_heads * dim
        key_value = 0 if shared else 2 * heads * dim
        wide = 2 if shared and self.double_wide_shared else 1
        inner = self.intermediate * wide
        shapes = [
            Shape("attention", query + key_value, self.hidden, kv_rows=key_value, heads=heads),
            Shape("attention", self.hidden, query, cut="columns"),
            Shape("mlp", 2 * inner, self.hidden),
            Shape("mlp", self.hidden, inner, cut="columns"),
        ]
        if self.experts:
            size = self.expert_intermediate
            shapes += [
                Shape("experts", 2 * size, self.hidden, copies=self.experts),
                Shape("experts", self.hidden, size, copies=self.experts, cut="columns"),
            ]
        if self.ple:
            shapes += [
                Shape("ple", self.ple, self.hidden, cut="none"),
                Shape("ple", self.hidden, self.ple, cut="none"),
            ]
        return tuple(shapes)

    def dead_kv(self) -> int:
        """Return the K/V parameters that shared layers carry unused in the base checkpoints."""
        sliding = self.shared_sliding * 2 * self.kv_heads * self.head_dim
        full = self.shared_full * 2 * self.global_kv_heads * self.global_head_dim
        return (sliding + full) * self.hidden

    def parameters(self) -> dict[str, int]:
        """Return the parameters by tensor class as the Hugging Face module counts them."""
        counts: dict[str, int] = {"attention": 0, "mlp": 0, "experts": 0, "ple": 0}
        for layers, shapes in self.linears():
            for shape in shapes:
                counts[shape.kind] += layers * shape.rows * shape.columns * shape.copies
        if self.k_eq_v:
            counts["attention"] -= (
                (self.full - self.shared_full)
                * self.global_kv_heads
                * self.global_head_dim
                * self.hidden
            )
        counts["ple"] += self.ple_model_projection
        return counts | {
            "embedding": self.embedding,
            "ple_table": self.ple_table,
            "other": self.other,
            "vision": self.vision,
            "audio": self.audio,
            "mm_embed": self.mm_embed_vision + self.mm_embed_audio,
        }

    @property
    def total(self) -> int:
        """Return all parameters of the module."""
        return sum(self.parameters().values())

    @property
    def active(self) -> int:
        """Return the parameters that one token reads: of the experts only the chosen ones.

        The embedding counts once: its lookup reads a row, and the tied lm_head reads it whole.
        The per-layer table is a lookup too.
        """
        counts = self.parameters()
        chosen = counts["experts"] * self.experts_per_token // self.experts if self.experts else 0
        return (
            counts["attention"] + counts["mlp"] + chosen + counts["ple"] + counts["embedding"]
        ) + counts["other"]


def _of_row(name: str, row: Mapping[str, Any], common: Mapping[str, Any]) -> Architecture:
    layers, every = row["layers"], row["full_every"]
    is_full = [index % every == every - 1 or index == layers - 1 for index in range(layers)]
    shared = is_full[layers - row["shared_layers"] :] if row["shared_layers"] else []
    return Architecture(
        name=name,
        sliding=layers - sum(is_full),
        full=sum(is_full),
        shared_sliding=len(shared) - sum(shared),
        shared_full=sum(shared),
        hidden=row["hidden"],
        intermediate=row["intermediate"],
        q_heads=row["q_heads"],
        kv_heads=row["kv_heads"],
        global_kv_heads=row["global_kv_heads"],
        head_dim=common["head_dim"],
        global_head_dim=common["global_head_dim"],
        window=row["window"],
        vocabulary=common["vocab_size"],
        context=row["context"],
        other=row["other"],
        k_eq_v=row["k_eq_v"],
        double_wide_shared=row.get("double_wide_shared", False),
        ple=row["ple"],
        experts=row.get("experts", 0),
        experts_per_token=row.get("experts_per_token", 0),
        expert_intermediate=row.get("expert_intermediate", 0),
        tied=common["tie_word_embeddings"],
        bidirectional_vision=row["bidirectional_vision"],
        vision=row["vision"],
        audio=row["audio"],
        mm_embed_vision=row["mm_embed_vision"],
        mm_embed_audio=row["mm_embed_audio"],
        drafter=row["drafter"],
        hub=row["hub"][0],
        source="; ".join(table("models")["sources"][key] for key in row["sources"]),
    )


@cache
def model_names() -> tuple[str, ...]:
    """Return the names of the Gemma 4 sizes."""
    return tuple(table("models")["models"])


@cache
def model(name: str) -> Architecture:
    """Return a Gemma 4 size by its name, or by the Hugging Face id of any of its precisions.

    Raises UsageError with the nearest names when there is none.
    """
    data = table("models")
    rows = data["models"]
    names = {key: (*row["hub"], *row.get("aliases", ())) for key, row in rows.items()}
    tail = name.rsplit("/", 1)[-1].casefold()
    if "gemma" in tail:
        # The longest size that stands in the id: 26B-A4B before any shorter one.
        for key in sorted(rows, key=len, reverse=True):
            if f"-{key.casefold()}" in tail:
                return _of_row(key, rows[key], data["common"])
    key = find("model", name, names)
    return _of_row(key, rows[key], data["common"])
