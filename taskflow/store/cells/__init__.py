"""A store of stores: each cell has tasks of its own, and nothing passes between cells."""
