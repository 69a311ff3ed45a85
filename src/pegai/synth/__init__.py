"""Generators: one file a method, all under one contract."""
