"""Measurements that are no cells of a study: circuits alone, speed, and an arm that reaches."""
