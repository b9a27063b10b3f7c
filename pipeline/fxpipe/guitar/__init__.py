"""Is it a guitar at all? A small classifier that was taught on our renders and on strangers.

``strangers.py`` makes sounds that are no guitar, ``check.py`` tells them from guitars through
pedals, ``teach.py`` trains it. The shipped weights hold the threshold too.
"""
