"""The page on which people label: a process of its own, which imports neither torch nor Lightning."""
