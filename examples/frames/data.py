"""Films of shapes that move in a box and bounce off its walls: made here, seeded, as many as one likes."""

from __future__ import annotations

import numpy as np

SIZE = 16
"""Pixels of a frame, across and down."""
SHAPES = 2
RADIUS = 2.2
FASTEST = 1.3
"""Pixels from a frame to the next, across or down."""


def films(count: int, frames: int, seed: int) -> np.ndarray:
    """Films, float32[count, frames, SIZE, SIZE] from 0 to 1: in each a disc and a square, from anywhere, at
    any speed. They pass through each other."""
    rng = np.random.default_rng(seed)
    room = SIZE - 1 - 2 * RADIUS
    begin = rng.uniform(0, room, (count, 1, SHAPES, 2))
    speed = rng.uniform(0.4, FASTEST, (count, 1, SHAPES, 2)) * rng.choice([-1, 1], (count, 1, SHAPES, 2))
    way = begin + speed * np.arange(frames)[:, None, None]
    # Bouncing is going on in a room of mirrors.
    place = RADIUS + room - np.abs(way % (2 * room) - room)
    pixels = np.arange(SIZE)
    down = np.abs(pixels[:, None] - place[..., 0, None, None])
    across = np.abs(pixels[None, :] - place[..., 1, None, None])
    distance = np.hypot(down, across)
    distance[:, :, 1] = np.maximum(down, across)[:, :, 1] + 0.4
    return np.clip(RADIUS - distance + 0.5, 0, 1).max(2).astype(np.float32)
