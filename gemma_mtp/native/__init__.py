"""llama.cpp as this package sees it: its C interface, its C++ engine, the settings of both, and child processes."""
