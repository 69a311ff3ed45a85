"""How alike synthetic and real patients are."""
