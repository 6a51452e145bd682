"""Broken and hostile model files by the thousand: ``python -m tests.fuzz COUNT``."""
