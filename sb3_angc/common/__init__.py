"""What several parts need: checks of arguments, making environments, compiling, watching workers."""
