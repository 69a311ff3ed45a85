"""Marginal-based synthesis: charged counts of few columns at a time, and models fitted to them."""
