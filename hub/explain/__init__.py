"""What the hub would do with an event, and why, without doing it; and what it did with one that it has.

Begin with ``explainer.py``; ``rehearse.py`` is the dry run, ``showing.py`` gives the form for programs and
``sections.py`` the one for people.
"""

from hub.explain.explainer import ExplainParts, explain_event, explain_message
from hub.explain.explanation import Explanation
from hub.explain.sections import Section, lines, sections

__all__ = ["ExplainParts", "Explanation", "Section", "explain_event", "explain_message", "lines", "sections"]
