"""The store that guests share: a tree of small values with permissions, watches and transactions, and its wire protocol."""
