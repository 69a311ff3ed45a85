"""The order of things: the only place that knows how the parts follow one another."""
