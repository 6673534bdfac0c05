"""Shared bytes: the arena of machine memory and flat tables laid over it.

State that more than one domain can touch lives here, so that whoever holds the baton can use it from any process.
"""
