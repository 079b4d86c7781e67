"""Sparse autoencoders: one canonical form, a reader per format on disk, a check of their fit."""
