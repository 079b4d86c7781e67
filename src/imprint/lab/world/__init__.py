"""A generated world whose truth is known, for models too small to learn from real text."""

from imprint.lab.world.world import World, WorldConfig, make_world
from imprint.lab.world.writing import contents, write_world

__all__ = ["World", "WorldConfig", "contents", "make_world", "write_world"]
