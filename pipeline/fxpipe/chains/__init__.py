"""Owns what chains may be drawn and what was: specs, draws, balance, tallies. Numbers, no audio."""
