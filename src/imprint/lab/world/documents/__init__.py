"""Documents about a world, in three registers."""

from __future__ import annotations

from imprint.lab.world.documents.registers import documents

__all__ = ["documents"]
