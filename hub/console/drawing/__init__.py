"""Pictures, drawn on the server as SVG without scripts or inline styles. What they show also stands there as text."""
