"""The file formats: bytes on disk to checked views, and back. Nothing here knows what a model is."""
