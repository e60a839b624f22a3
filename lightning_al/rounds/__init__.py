"""One round under way: what was fitted, scored, selected, asked, labelled, tested and recorded."""
