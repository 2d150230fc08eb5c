"""``hub prove`` and ``hub verify``: the proof of one event, and the seal over all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.cli.opening import Look, looking
from hub.cli.options import RawOption
from hub.cli.output import EXIT_PROBLEM, EXIT_USAGE, JsonOption, fail, print_json, print_table, run, say
from hub.cli.prune import archive_of
from hub.errors import UsageError
from hub.operate.lookup import ArchivedError, find_event
from hub.operate.reading import TodaysRules, load_event
from hub.prove.document import proof_in, without_content
from hub.prove.live import rules_of_today
from hub.prove.offline import PROOF_BYTES_MAX, Finding, NotAProofError, judge
from hub.seal.verifying import SealReport, verify_seal


def prove(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id or its beginning.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the proof into this file, for hub verify.")] = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prove one event, from the bytes that came to postings and messages.

    Verification, rule, keys and answers stand between them; each is worked out again from the stored rows; exit 1 when
    anything is not as it must be.

    An event that was archived is proven from what the archive holds of it, against the seal of then.

    The proof (--out, --json) is for others to verify without the hub. Payloads and headers are left out, their hashes
    stand for them; --raw puts them in.

    Example: hub prove 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10 --out proof.json
    """

    async def work() -> tuple[dict[str, Any], list[Finding]]:
        async with looking() as hub:
            where, proof, stored = await _proven(hub, event)
            archive = [Finding("archive", ok=True, detail=f"read from {name}") for name in where]
            return proof, [*archive, *rules_of_today(TodaysRules(hub.wiring.drafter, {}), stored)]

    proof, live = run(work)
    findings = judge(proof)
    ok = all(one.ok for one in findings)
    shown = proof if raw else without_content(proof)
    if out is not None:
        _write(out, shown)
    if as_json:
        print_json({"ok": ok, "findings": [*findings, *live], "proof": shown})
    else:
        _print(f"Event {proof['event_id']}", [*findings, *live])
        if not proof["seal"]["paths"]:
            say("Nothing of it is sealed yet.")
        say("Everything agrees." if ok else "Something does not agree.")
    if not ok:
        raise typer.Exit(EXIT_PROBLEM)


async def _proven(hub: Look, event: str) -> tuple[tuple[str, ...], dict[str, Any], Row[Any]]:
    """The proof and the stored event, and the objects of the archive they come from: none while it is in the tables."""

    async def look(conn: AsyncConnection, event_id: UUID) -> tuple[dict[str, Any], Row[Any]]:
        return await proof_in(conn, event_id, now=hub.clock.now()), await load_event(conn, event_id)

    try:
        async with hub.store.reading() as conn:
            return (), *await look(conn, await find_event(conn, event))
    except ArchivedError as found:
        event_id = found.event_id
    where, found_there = await archive_of(hub).look(event_id, lambda conn: look(conn, event_id))
    return where, *found_there


def verify(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A proof that hub prove wrote.")] = None,
    seal: Annotated[bool, typer.Option("--seal", help="Hold all tables against the seal.")] = False,
    head: Annotated[
        str | None,
        typer.Option(
            help="With --seal: a block's hash out of the log, or its first 12 digits; it must still be there."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a proof, or everything that is sealed; exit 1 when anything was changed, deleted or cut off.

    A proof is verified from the file alone. The seal is read from the database, row by row: minutes where there are
    many millions.

    Example: hub verify --seal --head 3f9a12c07be4
    """
    if seal == (file is not None):
        fail("expected either a proof's file or --seal", code=EXIT_USAGE)
    if head is not None and not seal:
        fail("--head goes with --seal", code=EXIT_USAGE)
    if file is not None:
        _verify_file(file, as_json=as_json)
        return

    async def work() -> SealReport:
        async with looking() as hub:
            return await verify_seal(hub.store, head=head)

    report = run(work)
    if as_json:
        print_json(_as_json(report))
    else:
        _print_seal(report)
    if not report.holds:
        raise typer.Exit(EXIT_PROBLEM)


def _verify_file(file: Path, *, as_json: bool) -> None:
    async def work() -> list[Finding]:
        try:
            with file.open("rb") as opened:
                text = opened.read(PROOF_BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
        if len(text) > PROOF_BYTES_MAX:
            raise UsageError(f"{file} is larger than {PROOF_BYTES_MAX} bytes")
        try:
            proof = json.loads(text)
            # As --json prints it, the proof stands beside what was found.
            return judge(proof.get("proof", proof) if isinstance(proof, dict) else proof)
        except (NotAProofError, ValueError, RecursionError) as error:
            raise UsageError(f"{file}: {error}") from error

    findings = run(work)
    ok = all(one.ok for one in findings)
    if as_json:
        print_json({"ok": ok, "findings": findings})
    else:
        _print("Proof", findings)
        say("Everything agrees." if ok else "Something does not agree.")
    if not ok:
        raise typer.Exit(EXIT_PROBLEM)


def _write(file: Path, proof: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(proof, indent=1) + "\n")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}", code=EXIT_USAGE)


def _print(title: str, findings: list[Finding]) -> None:
    rows = [["ok" if one.ok else "NOT", one.step, one.detail] for one in findings]
    print_table(title, ["", "step", "what was found"], rows)


def _as_json(report: SealReport) -> dict[str, Any]:
    return {
        "ok": report.holds,
        "blocks": report.blocks,
        "members": report.members,
        "pruned": report.pruned,
        "head": {"number": report.head_number, "hash": report.head, "sealed_at": report.head_sealed_at},
        "blocks_since_given_head": report.behind_given_head,
        "unsealed": report.unsealed,
        "findings": report.findings,
        "more_findings": report.more_findings,
    }


def _print_seal(report: SealReport) -> None:
    if not report.blocks:
        say("Nothing is sealed yet.")
    else:
        say(f"{report.blocks} blocks seal {report.members} rows; {report.pruned} of them were archived.")
        say(f"Head: block {report.head_number} {report.head}, sealed {report.head_sealed_at:%Y-%m-%d %H:%M:%S} UTC.")
    if report.behind_given_head is not None:
        say(f"The given head is there; {report.behind_given_head} blocks came after it.")
    unsealed = {kind: count for kind, count in report.unsealed.items() if count}
    if unsealed:
        say("Not sealed yet: " + ", ".join(f"{count} {kind}" for kind, count in unsealed.items()) + ".")
    rows = [[one.sort, one.subject, one.detail] for one in report.findings]
    if rows:
        print_table("Findings", ["what", "where", "detail"], rows)
        if report.more_findings:
            say(f"and {report.more_findings} more")
    else:
        say("Everything that is sealed is as it was.")
