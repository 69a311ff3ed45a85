"""The schema's rules in sampled rows: columns learned so that they hold, and rows repaired."""
