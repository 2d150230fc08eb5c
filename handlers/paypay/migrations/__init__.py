"""The branch of PayPay's tables."""
