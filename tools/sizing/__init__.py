"""Sizing: memory, speed and cost, computed."""
