"""Named experiments of the theory."""
