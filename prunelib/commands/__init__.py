"""What a user does with a picture of their own, outside the papers' grids: each command is one module."""
