"""The branch of the wallet's tables."""
