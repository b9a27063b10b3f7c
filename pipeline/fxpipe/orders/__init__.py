"""Owns which orders of pedals sound the same: measured by pair, known for each clip, and what
that leaves for any listener to reach."""
