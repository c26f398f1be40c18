"""Runs transactions: one virtual user, one transaction, once. Workers, `loadproof try` and `loadproof.testing` use it.

The modules are imported one by one; this package imports none of them, because `loadproof` itself needs some.
"""
