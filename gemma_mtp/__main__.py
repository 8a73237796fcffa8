"""`python -m gemma_mtp` is the `gemma-mtp` command."""

from gemma_mtp.cli.main import main

main()
