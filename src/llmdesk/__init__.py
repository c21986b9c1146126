"""Turns a machine into a private local-LLM desk and proves that it answers."""
