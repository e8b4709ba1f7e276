"""Files that are whole or not there: atomic writing, exact resuming, files that execute nothing."""
