"""Which order code a bank transfer names, read from free text that banks and wallets have changed on the way.

Prefixes, suffixes, changed case, lost separators, injected spaces and digits glued to the code are normal. Only a whole
code that we have issued is a match; everything else goes to a person. Source: docs/providers/sepay.md, "Matching".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from handlers.sepay.order_codes import NormalisedCode, normalise

TEST_PHRASE: Final = NormalisedCode("GIAODICHTHUNGHIEM")
"""What SePay's dashboard writes into a test delivery, normalised."""

# A look-ahead tries every position. Lengths are fixed: once separators are gone, foreign digits may follow directly.
_WHOLE: Final = re.compile(r"(?=(TOPUP\d{10}[0-9A-F]{8}|PAY[0-9A-F]{8}\d{10}))", re.ASCII)
_CUT: Final = re.compile(r"(?=(TOPUP\d{10}[0-9A-F]{0,7}|PAY[0-9A-F]{8}\d{4,9}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Matched:
    """Exactly one code that we issued."""

    code: NormalisedCode


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several codes that we issued, in the order of the text."""

    codes: tuple[NormalisedCode, ...]


@dataclass(frozen=True, slots=True)
class Truncated:
    """Only the beginning of a code. Never credited without a person."""

    partial: NormalisedCode


@dataclass(frozen=True, slots=True)
class Unmatched:
    """No code of ours."""


Match: TypeAlias = Matched | Ambiguous | Truncated | Unmatched


@dataclass(frozen=True, slots=True)
class TransferText:
    """The three texts of a transfer in which a code may stand, most trusted first."""

    code: str = ""
    content: str = ""
    description: str = ""

    @property
    def is_test(self) -> bool:
        """Whether the content is exactly the phrase of SePay's test delivery."""
        return normalise(self.content) == TEST_PHRASE

    def candidates(self) -> tuple[NormalisedCode, ...]:
        """Every distinct whole code in any of the texts, to be looked up among the issued ones."""
        return tuple(dict.fromkeys(code for text in self._texts() for code in whole_codes(text)))

    def match(self, issued: Collection[NormalisedCode]) -> Match:
        """Decide, given which of ``candidates()`` we have issued.

        The first text that holds an issued code decides; codes that we never issued are ignored.
        """
        for text in self._texts():
            known = [code for code in whole_codes(text) if code in issued]
            if len(known) == 1:
                return Matched(known[0])
            if known:
                return Ambiguous(tuple(known))
        if not self.candidates():
            cut = _longest_cut(self._texts())
            if cut is not None:
                return Truncated(cut)
        return Unmatched()

    def _texts(self) -> Sequence[NormalisedCode]:
        return [normalise(self.code), normalise(self.content), normalise(self.description)]


def whole_codes(normalised: NormalisedCode) -> tuple[NormalisedCode, ...]:
    """The distinct whole codes in a normalised text, overlapping ones too, in the order of the text."""
    return tuple(dict.fromkeys(NormalisedCode(found[1]) for found in _WHOLE.finditer(normalised)))


def _longest_cut(texts: Sequence[NormalisedCode]) -> NormalisedCode | None:
    # The longest says most: SePay's own ``code`` can be cut shorter than what the content still holds.
    cuts = [NormalisedCode(found[1]) for text in texts for found in _CUT.finditer(text)]
    return max(cuts, key=len, default=None)
