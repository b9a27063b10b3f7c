"""Owns getting files onto this machine: resumed, checked, pinned, unpacked without trust."""
