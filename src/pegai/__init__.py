"""pegai: synthetic patients with a stated privacy guarantee and the evidence."""
