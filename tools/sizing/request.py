"""What is asked of `fit`, resolved to numbers, with everything impossible refused here."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.errors import UsageError
from tools.sizing import checkpoint, flags, version
from tools.sizing.accelerators import GIB, Accelerator, accelerator
from tools.sizing.architecture import Architecture, model
from tools.sizing.flags import ServeFlags
from tools.sizing.kv import BLOCK_TOKENS, kv_type_of
from tools.sizing.precision import Precision, precision, precision_of_name
from tools.sizing.version import LATEST, Version
from tools.sizing.weights import Towers

# Tokens of the largest multimodal item: 32 video frames × (70 + 2 + 6).
# Source: vllm 0.32.0 gemma4_mm.py:267-273.
LARGEST_ITEM = 2496


@dataclass(frozen=True)
class Measured:
    """What a boot log measured, in bytes; it replaces the band."""

    weights: int = 0
    kv: int = 0
    graphs: int = 0
    requested: int = 0
    tokens: int = 0
    concurrency: float = 0.0
    source: str = "boot log"


@dataclass(frozen=True)
class FitRequest:
    """A question to `fit`. Memory is in GiB, lengths in tokens."""

    model: str
    accelerator: str
    precision: str = ""  # "": what the model's name says, else bf16
    count: int = 0  # devices; 0: as many as tensor parallelism wants, else 1
    text_only: bool = False  # a checkpoint without towers
    vllm_version: str = LATEST
    kv_gib: float | None = None  # a device's KV memory, given instead of derived
    flags: tuple[str, ...] | ServeFlags = ()
    measured: Measured | None = None
    cold: bool = False  # first boot: the compile cache is empty


@dataclass(frozen=True)
class Plan:
    """A request with every default filled in as vLLM fills it in."""

    arch: Architecture
    kind: Precision
    card: Accelerator
    version: Version
    flags: ServeFlags
    tp: int
    count: int
    towers: Towers
    kv_type: str
    batched_tokens: int
    sequences: int
    length: int  # 0: auto
    asynchronous: bool
    block_tokens: int = BLOCK_TOKENS
    raised_batch: bool = False  # vLLM's default was too small for one item
    kv_gib: float | None = None
    measured: Measured | None = None
    cold: bool = False
    tensor_bytes: int = 0  # of a local folder
    version_text: str = LATEST
    notes: tuple[str, ...] = field(default=())

    @property
    def offload(self) -> int:
        """Return the bytes that --cpu-offload-gb allows."""
        return round(self.flags.cpu_offload_gb * GIB)


def resolve(request: FitRequest) -> Plan:
    """Return the plan of a request.

    Raises UsageError for unknown names and impossible values.
    """
    card = accelerator(request.accelerator)
    given = request.flags
    options = given if isinstance(given, ServeFlags) else flags.read(given)
    arch, named, size = _model(request.model)
    kind = precision(request.precision or _quantization(options) or named)
    generation = version.parse(request.vllm_version)
    if request.kv_gib is not None and not 0 < request.kv_gib < 100_000:
        raise UsageError(f"--kv-gib {request.kv_gib} is not possible.", fix="Give GiB above 0.")
    if options.pipeline_parallel_size > 1:
        raise UsageError(
            "Pipeline parallelism is not sized here.", fix="Use --tensor-parallel-size."
        )
    tp, count = _devices(request, options, arch, card)
    wrapper = arch.multimodal and not request.text_only
    towers = Towers(
        vision=wrapper and options.vision, audio=wrapper and options.audio, wrapper=wrapper
    )
    batched, raised = _batched_tokens(options, card, arch, towers)
    limit = arch.context
    if options.max_model_len > limit:
        raise UsageError(
            f"--max-model-len {options.max_model_len:,} is above the model's {limit:,}.",
            fix=f"Give at most {limit}.",
        )
    return Plan(
        arch=arch,
        kind=kind,
        card=card,
        version=generation,
        flags=options,
        tp=tp,
        count=count,
        towers=towers,
        kv_type=kv_type_of(options.kv_cache_dtype),
        batched_tokens=batched,
        sequences=options.max_num_seqs or min(card.default_sequences, batched),
        length=max(options.max_model_len, 0),
        asynchronous=options.async_scheduling is not False,
        block_tokens=options.block_size or BLOCK_TOKENS,
        raised_batch=raised,
        kv_gib=request.kv_gib,
        measured=request.measured,
        cold=request.cold,
        tensor_bytes=size,
        version_text=request.vllm_version,
    )


def _model(name: str) -> tuple[Architecture, str, int]:
    if not name.strip():
        raise UsageError("No model is given.", fix="Name one: E2B, E4B, 12B, 26B-A4B or 31B.")
    if checkpoint.is_local(name):
        return checkpoint.read(name)
    return model(name), precision_of_name(name), 0


def _quantization(options: ServeFlags) -> str:
    # compressed-tensors only names the container; the checkpoint's name says the bits.
    known = {"bitsandbytes": "nf4", "fp8": "fp8", "awq": "awq4", "gptq": "awq4"}
    return known.get(options.quantization, "")


def _devices(
    request: FitRequest, options: ServeFlags, arch: Architecture, card: Accelerator
) -> tuple[int, int]:
    if request.count < 0 or request.count > 1024:
        raise UsageError(f"--count {request.count} is not possible.", fix="Give 1 to 1024.")
    tp = options.tensor_parallel_size or request.count or 1
    count = request.count or tp
    if tp > count:
        raise UsageError(
            f"--tensor-parallel-size {tp} needs {tp} devices, and there are {count}.",
            fix=f"Give --count {tp}, or a smaller tensor parallel size.",
        )
    heads = (arch.q_heads, arch.kv_heads, arch.global_kv_heads)
    if arch.q_heads % tp or any(max(n, tp) % min(n, tp) for n in heads[1:]):
        fitting = [n for n in (1, 2, 4, 8, 16, 32) if not arch.q_heads % n]
        raise UsageError(
            f"{arch.name} has {arch.q_heads} query heads, which {tp} ranks can't share.",
            fix=f"Possible tensor parallel sizes: {', '.join(map(str, fitting))}.",
        )
    if card.tpu and card.topologies and count not in card.topologies:
        raise UsageError(
            f"{card.name} is not sold with {count} chips.",
            fix=f"Sizes: {', '.join(map(str, card.topologies))}.",
        )
    return tp, count


def _batched_tokens(
    options: ServeFlags, card: Accelerator, arch: Architecture, towers: Towers
) -> tuple[int, bool]:
    if options.max_num_batched_tokens:
        return options.max_num_batched_tokens, False
    batched = card.default_batched_tokens
    # vllm 0.32.0 engine/arg_utils.py:3146-3163 raises its own default to one item; before, the
    # start was refused. Either way no smaller number ever ran.
    if needs_whole_items(arch, towers, card) and batched < LARGEST_ITEM:
        return LARGEST_ITEM, True
    if options.max_num_seqs and options.max_model_len > 0:
        batched = min(batched, options.max_num_seqs * options.max_model_len)
    return batched, False


def needs_whole_items(arch: Architecture, towers: Towers, card: Accelerator) -> bool:
    """Return whether an image or video must fit into one batch.

    Images attend in both directions, so vLLM does not cut them: platforms/cuda.py:333-343.
    """
    return arch.bidirectional_vision and towers.vision and not card.tpu
