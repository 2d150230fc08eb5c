"""What every transport must pass: ``suite.py``, inherited once per transport. See docs/extending-transports.md."""
