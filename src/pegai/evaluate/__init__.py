"""Evaluation: what synthetic tables are worth and what they give away."""
