"""The description of the HTTP API, made from the routes themselves: OpenAPI 3.1 and a page to read it.

Begin with ``operation.py`` (what a route says about itself); ``document.py`` puts all of them together, ``page.py``
shows it without any script or foreign address.
"""

from hub.apidoc.operation import Operation, Parameter, documented

__all__ = ["Operation", "Parameter", "documented"]
