"""The commands, a module each: its arguments, and what it does. ``serve``, ``demo`` and ``build`` are with
what they start."""
