"""gemma-mtp: convert, quantize, verify, run and publish Gemma 4 MTP assistants."""

__version__ = "0.1.0"
