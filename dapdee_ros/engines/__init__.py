"""What computes parts of a network: any wanted tensors from any that suffice.

``engine`` is what an engine promises. ``onnxruntime_engine`` runs networks in ONNX (``onnx_model``)
and is the fast one; ``onnx_export`` makes such a network of a traced one and needs torch,
``onnx_import`` makes one of an ONNX file of any origin. Nothing is imported here, so that a machine
without torch can run the engine.
"""
