"""What models that were trained on synthetic patients are worth."""
