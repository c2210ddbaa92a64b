"""The engine that every lane shares: outcomes, manifests, plans, publishing, reports."""
