"""The chapters of the study: each reads the same material and gives a verdict."""
