"""Tables as integer codes and back: summarize, merge, encode, decode."""
