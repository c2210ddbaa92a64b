"""The diffusion MRI lane."""
