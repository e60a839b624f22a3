"""The data of a run: the labelled points, the pool, the target of an item, and loaders over them."""
