"""The usual way: a table per thing, an ORM session per message, everything of one message in one transaction."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from pydantic import BaseModel
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Integer, LargeBinary, String, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from benchmarks.load import CUSTOMERS, HOT

CLEARING = "clearing"
# SQLite numbers rows by itself only where the key is called INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


class Deposit(BaseModel):
    """The message that comes in."""

    id: str
    customer: str
    wallet: str
    amount: int


class Base(DeclarativeBase):
    """The tables of every baseline."""


class ReceivedEvent(Base):
    __tablename__ = "events"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)


class Account(Base):
    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("balance >= 0"),)
    code: Mapped[str] = mapped_column(String(80), primary_key=True)
    balance: Mapped[int] = mapped_column(BigInteger)


class Entry(Base):
    __tablename__ = "entries"
    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id"), unique=True)
    postings: Mapped[list[Posting]] = relationship(lazy="raise")


class Posting(Base):
    __tablename__ = "postings"
    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id"), index=True)
    account: Mapped[str] = mapped_column(String(80))
    amount: Mapped[int] = mapped_column(BigInteger)


class OutboxMessage(Base):
    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    message_id: Mapped[str] = mapped_column(String(80), unique=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)


async def create_tables(engine: AsyncEngine) -> None:
    """All tables, and an account for each customer of the load. The clearing account keeps no balance: no hot row."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        codes = [*(f"c{number}" for number in range(CUSTOMERS)), HOT]
        table: Any = Account.__table__
        await connection.execute(table.insert(), [{"code": code, "balance": 0} for code in codes])


async def credit(sessions: async_sessionmaker[AsyncSession], deposit: Deposit, payload: bytes) -> OutboxMessage | None:
    """One deposit in one transaction; None when it was known already."""
    try:
        async with sessions() as session, session.begin():
            session.add(ReceivedEvent(id=deposit.id, payload=payload))
            await session.flush()
            account = await session.scalar(select(Account).where(Account.code == deposit.wallet).with_for_update())
            if account is None or account.balance + deposit.amount < 0:
                raise ValueError(f"the account {deposit.wallet} cannot take {deposit.amount}")
            account.balance += deposit.amount
            postings = [
                Posting(account=CLEARING, amount=-deposit.amount),
                Posting(account=deposit.wallet, amount=deposit.amount),
            ]
            session.add(Entry(event_id=deposit.id, postings=postings))
            message = OutboxMessage(message_id=deposit.id, payload=credited(deposit))
            session.add(message)
    except IntegrityError:
        return None
    return message


def credited(deposit: Deposit) -> bytes:
    """The message that goes out."""
    return json.dumps({"id": deposit.id, "customer": deposit.customer}).encode()


def signature_of(secret: bytes, body: bytes) -> str:
    """What the sender of a webhook puts into X-Signature."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()
