"""The lab: a built-in world, small models trained in it, and the whole study."""
