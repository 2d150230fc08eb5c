"""The branch of PayPal's tables."""
