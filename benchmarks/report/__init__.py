"""From raw results to tables, figures and statistics."""
