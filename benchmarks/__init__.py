"""Studies of ANGC: a runner whose results can be resumed and a report with intervals."""
