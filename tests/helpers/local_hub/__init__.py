"""A Hub on this machine for tests, and the fixtures that point huggingface_hub to it."""
