"""What the papers claim, as comparisons between runs, and the tests that decide them."""
