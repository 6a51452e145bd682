"""Drop-ins: tinyseq behind the interfaces of other packages."""
