"""Planted bugs: defects that other systems have shipped, each planted into this one to see which tests notice."""
