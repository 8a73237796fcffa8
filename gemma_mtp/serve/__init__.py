"""An OpenAI-compatible endpoint with a pair loaded: llama.cpp's own HTTP server, from xllamacpp, in a child process."""
