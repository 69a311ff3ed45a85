"""Several hospitals train together, and only protected sums leave a site."""
