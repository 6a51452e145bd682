"""The demonstrations: what recurrent models are for, each in a folder that shows how it was made.

A folder's ``run.py`` is what ``tinyseq demo NAME`` runs, on the model that lies beside it; ``train.py`` and
``export.py`` make that model anew. ``command`` is ``tinyseq demo``, ``fetch`` gets data out of packages, and
``audio``, ``picture`` and ``report`` are what several of them share. ``README.md`` lists all.
"""
