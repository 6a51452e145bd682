"""The languages that are translated to, and the token that a decoder is given first, by language."""

from ..subwords import SPECIAL

LANGUAGES = {"es": "Spanish", "de": "German"}
TOKENS = tuple(f"<{language}>" for language in LANGUAGES)
START = {language: len(SPECIAL) + number for number, language in enumerate(LANGUAGES)}
