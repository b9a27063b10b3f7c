"""Models on pedals they never heard: a kit to dial in by hand, and scores of what comes back.

``fxtrain zeroshot kit`` writes dry guitar with alignment markers, a printable sheet of chains and
an empty ``renders.csv``; ``fxtrain evaluate --manifest renders.csv`` finds the markers in the
recordings, checks their levels, cuts the clips and scores them.
"""
