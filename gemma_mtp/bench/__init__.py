"""What drafting gains on this machine: measured, tabulated, drawn, and turned into a recommendation."""
