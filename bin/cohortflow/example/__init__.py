"""Example studies that the project generates itself, with known truth."""
