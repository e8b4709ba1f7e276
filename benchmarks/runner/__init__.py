"""The study runner: cells, the engines that run them, and their raw results."""
