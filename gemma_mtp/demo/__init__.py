"""The shipped trained pair, and the demo that takes it through the whole toolkit."""
