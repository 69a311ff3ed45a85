"""Networks that generate rows as codes: layout, players, training, sampling."""
