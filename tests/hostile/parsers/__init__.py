"""Every reader of bytes from outside, given what nobody would send who means well. Begin with README.md."""
