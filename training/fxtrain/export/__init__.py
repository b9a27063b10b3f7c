"""What was heard, as files: ``chain.json`` and a drawing here, other programs' files through the
frontend, the model itself as ONNX. One module a format. This file loads nothing."""
