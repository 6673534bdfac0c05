"""The store that guests share: small values in a tree, with watches and transactions, and its wire protocol."""
