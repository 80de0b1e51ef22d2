"""Measures the engine beside its peers, in one run and in turns; `python -m engine.bench`, or `hearth bench engine`."""
