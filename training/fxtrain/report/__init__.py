"""An evaluation as one HTML page that needs nothing else: no file beside it, no request.

Every number on it is one of ``evaluation.json`` or counted from the same answers. Must not import
torch's training side, audio or plotting libraries: the drawings are a few lines of SVG.
"""

from fxtrain.report.page import page, write_page

__all__ = ["page", "write_page"]
