"""Mutants: each breaks one rule that keeps rows from being lost or leaked, and a test must notice.

`make mutants` applies them one at a time to a copy of the checkout, and runs the tests that ought to fail.
"""
