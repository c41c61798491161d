"""Colours. State is always said by a glyph and a word too, so no theme carries meaning alone."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="gemma-dark",
    dark=True,
    primary="#8ab4f8",
    secondary="#a8c7fa",
    accent="#c58af9",
    foreground="#e3e3e3",
    background="#131314",
    surface="#1b1b1d",
    panel="#242528",
    success="#81c995",
    warning="#fdd663",
    error="#f28b82",
)
LIGHT = Theme(
    name="gemma-light",
    dark=False,
    primary="#0b57d0",
    secondary="#00639b",
    accent="#7627bb",
    foreground="#1f1f1f",
    background="#ffffff",
    surface="#f5f6f8",
    panel="#e8eaed",
    success="#146c2e",
    warning="#7a4f00",
    error="#b3261e",
)
CONTRAST = Theme(
    name="gemma-contrast",
    dark=True,
    primary="#00ffff",
    secondary="#ffffff",
    accent="#ffff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1a1a1a",
    success="#00ff00",
    warning="#ffff00",
    error="#ff6666",
)
THEMES = (DARK, LIGHT, CONTRAST)
