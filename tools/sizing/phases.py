"""The phases of a cold start, as estimates and observed starts name them."""

from __future__ import annotations

PROCESS, WEIGHTS, COMPILING = "process start", "loading weights", "compiling and graphs"
PHASES = (PROCESS, WEIGHTS, COMPILING)
