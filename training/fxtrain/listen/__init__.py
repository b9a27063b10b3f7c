"""Owns listening tests: what is heard, who is asked in which order, what the answers say.

A study is a directory: sounds with opaque names, ``study.json`` written last, ``answers.sqlite``
while people listen. Audio and pedals come through the frontend.
"""
