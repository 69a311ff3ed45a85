"""What synthetic patients give away about real ones."""
