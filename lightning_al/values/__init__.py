"""Plain values: numbers that users pass, the parts of an item, content hashes, and how errors show them."""
