"""What others meet, described: the HTTP API (OpenAPI 3.1, with a page to read it) and the messages (AsyncAPI 3.0).

For HTTP begin with ``operation.py`` (what a route says about itself); ``document.py`` puts all of them together,
``page.py`` shows it without any script or foreign address. For messages begin with ``traffic.py`` (what goes where);
``schemas.py`` makes the JSON Schemas, ``asyncapi.py`` the document.
"""

from hub.apidoc.operation import Operation, Parameter, documented

__all__ = ["Operation", "Parameter", "documented"]
