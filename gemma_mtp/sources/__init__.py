"""From what a user names to an opened model: the one noun of the program."""
