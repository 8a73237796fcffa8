"""The Hugging Face Hub: naming a source, downloading it, reading only a remote file's header."""
