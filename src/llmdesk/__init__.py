"""Turns a machine into a private local-LLM desk and proves that it answers."""

__version__ = "0.1.0"
