"""Converters: from the files of other frameworks to a Model. Each imports its package when used."""
