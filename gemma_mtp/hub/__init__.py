"""The Hugging Face Hub: naming a source, downloading it, reading only a remote file's header."""

from gemma_mtp.hub.endpoint import require_address

require_address()  # before huggingface_hub is loaded: a wrong address breaks its import, with the address in its words
