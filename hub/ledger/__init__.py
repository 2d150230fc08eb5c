"""The books: double entry in whole minor units, kept by rules of the database itself (docs/guarantees.md, G5).

Begin with ``model.py`` (accounts, moves, entries), then ``book.py`` (posting inside a transaction); ``ddl.py`` holds
the rules, ``read.py`` the questions, ``verify.py`` the proof.
"""

from hub.ledger import ddl
from hub.ledger.book import Book
from hub.ledger.model import Account, Hold, HoldState, Move, PostedEntry, Posting, transfer

# Whoever can see the tables has the listeners too: the tables are never created without their rules.
__all__ = ["Account", "Book", "Hold", "HoldState", "Move", "PostedEntry", "Posting", "ddl", "transfer"]
