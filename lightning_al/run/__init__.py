"""What a run is, and how its folder keeps it: identity, history, journal, weights, lock and seeds."""
