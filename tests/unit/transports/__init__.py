"""Transports without a broker."""
