"""What several parts need: checks of arguments, compiling, watching workers."""
