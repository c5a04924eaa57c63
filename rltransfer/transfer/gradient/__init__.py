"""Changes how a planned agent learns, on SB3's own optimizers: rates, pulls, what is held, and what it is drawn to."""
