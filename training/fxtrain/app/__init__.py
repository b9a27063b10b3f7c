"""The guitarist's page: drop a clip, see the board, turn its knobs, hear it. Extra ``[web]``.

All is kept in memory and gone with the process. ``static/vendor`` holds wavesurfer.js 8.0.1
(BSD-3-Clause, its licence beside it), unchanged. This file loads nothing.
"""
