"""The pool through the posterior samples, on Lightning's devices and ranks, to what is selected from it."""
