"""Datasets become reward models and policies here, and policies make new completions."""
