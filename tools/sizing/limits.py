"""What an accelerator or a version can't do at all, whatever memory there is."""

from __future__ import annotations

from tools.sizing.overhead import CONTEXT
from tools.sizing.request import LARGEST_ITEM, Plan, needs_whole_items

ADA = (8, 9)
BLACKWELL = (10, 0)
TURING = (7, 5)
# Gone from vllm 0.32.0 model_executor/layers/quantization/__init__.py and config/load.py.
NO_BITSANDBYTES = (0, 32)


def refusals(plan: Plan) -> tuple[str, ...]:
    """Return a sentence for each reason why vLLM would refuse the plan or fail in it."""
    found = [*_kv(plan), *_weights(plan), *_start(plan)]
    if plan.card.tpu:
        found += _tpu(plan)
    return tuple(found)


def _kv(plan: Plan) -> list[str]:
    card, kind = plan.card, plan.kv_type
    if kind == "fp8" and card.lacks(ADA):
        return [
            f"--kv-cache-dtype fp8 needs compute capability 8.9, and {card.name} has "
            f"{_capability(plan)}."
        ]
    if kind == "nvfp4" and (card.lacks(BLACKWELL) or card.platform != "cuda"):
        return [f"--kv-cache-dtype nvfp4 needs a Blackwell card, and {card.name} is none."]
    return []


def _weights(plan: Plan) -> list[str]:
    card = plan.card
    found = []
    if card.lacks(TURING) and plan.kind.quantised:
        found.append(f"{card.name} is too old for {plan.kind.name} kernels.")
    if plan.kind.name == "nf4" and plan.version >= NO_BITSANDBYTES:
        found.append(
            "vLLM 0.32 has no bitsandbytes method any more: serve the fp8 or w4a16 checkpoint, or "
            "an older vLLM."
        )
    elif plan.kind.name == "nf4" and plan.arch.experts:
        found.append(
            "bitsandbytes can't load the mixture of experts: vLLM asks for get_expert_mapping, "
            "which the Gemma 4 class lacks."
        )
    if plan.kind.name == "nf4" and card.platform != "cuda":
        found.append("bitsandbytes needs an NVIDIA card.")
    if plan.flags.enable_lora and plan.version < (0, 18):
        found.append("LoRA on Gemma 4 came with vLLM 0.18: before, the class has no LoRA support.")
    return found


def _start(plan: Plan) -> list[str]:
    found: list[str] = []
    if plan.kv_gib is not None or plan.measured is not None:
        return found
    batched = plan.flags.max_num_batched_tokens
    whole = needs_whole_items(plan.arch, plan.towers, plan.card)
    # The check came with the forced disable_chunked_mm_input: vLLM recipes issue 441.
    if whole and 0 < batched < LARGEST_ITEM and plan.version >= (0, 21):
        found.append(
            f"--max-num-batched-tokens {batched} is below the {LARGEST_ITEM} tokens of the "
            f"largest video, which {plan.arch.name} must take whole: vLLM raises ValueError."
        )
    wanted = plan.card.usable * plan.flags.gpu_memory_utilization
    if not plan.card.tpu and wanted > plan.card.usable - CONTEXT * 2 // 3:
        found.append(
            f"--gpu-memory-utilization {plan.flags.gpu_memory_utilization} asks for more than is "
            "free after the CUDA context: vLLM refuses to start."
        )
    return found


def _tpu(plan: Plan) -> list[str]:
    found = []
    if plan.offload:
        found.append("--cpu-offload-gb does not exist on a TPU.")
    if plan.kind.name in {"fp8", "w8a8", "nvfp4", "nf4", "awq4", "w8a16"}:
        found.append(f"{plan.kind.name} weights are not served for Gemma 4 on a TPU.")
    if plan.flags.enable_lora:
        found.append("LoRA adapters are not served for Gemma 4 on a TPU.")
    return found


def _capability(plan: Plan) -> str:
    return ".".join(map(str, plan.card.capability))
