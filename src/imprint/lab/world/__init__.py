"""A generated world whose truth is known, for models too small to learn from real text."""

from imprint.lab.world.world import World, WorldConfig, make_world

__all__ = ["World", "WorldConfig", "make_world"]
