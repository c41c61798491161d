"""The version, as a constant: importlib.metadata costs three times the start of Python.

A test holds it equal to ``pyproject.toml``.
"""

VERSION = "0.1.0"
