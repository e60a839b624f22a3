"""What users pass in, read as plain numbers, as parts of an item, and as a hash of what it holds."""
