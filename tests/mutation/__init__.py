"""
Plants one mistake at a time in a copy of the package and demands that the tests catch each.

``make mutation`` runs it; ``python -m tests.mutation PART...`` tries only mistakes whose description has one
of the parts. The exit status is the number of mistakes that no test caught.
"""
