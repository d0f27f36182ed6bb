"""What a Gaussian log holds that is not the energy of a density functional, or not that of the atoms alone: refused, with the reason.

Keywords: https://gaussian.com/keywords.
"""

from __future__ import annotations

import re
from typing import Final

from schemas.errors import UnreadableOutput

_REMEDY: Final = "deposit runs of plain density-functional theory"
_SEMI_EMPIRICAL: Final = re.compile(r"(?:AM1|PM\d\w*|MNDO\w*|DFTB\w*|INDO\w*|ZINDO\w*|CNDO\w*|MINDO\w*|PDDG\w*|EHT|HUCKEL|EXTHUCKEL)\Z")
_DOUBLE_HYBRID: Final = re.compile(r"(?:B2PLYP\w*|MPW2PLYP\w*|DSD\w*|PBE0DH|PBEQIDH|PBE0-?2|REVDSD\w*)\Z")
_LAYERS: Final = "an ONIOM energy of several layers"
_CORRELATED: Final = "a perturbation or coupled-cluster energy above the one of self-consistency"
_DOUBLE: Final = "a double hybrid, whose perturbative part stands apart from the energy of self-consistency"
_EXCITED: Final = "excited states, whose forces do not belong to the ground-state energy"
_FRAGMENTS: Final = "a counterpoise calculation of fragments"

_TEXTS: Final[tuple[tuple[bytes, re.Pattern[bytes], str, str], ...]] = (
    (b"EUMP", re.compile(rb"EUMP[2-5] *= *-?\d"), "not_dft", _CORRELATED),
    (b"\n DE(Corr)= ", re.compile(rb""), "not_dft", _CORRELATED),
    (b"\n Wavefunction amplitudes converged", re.compile(rb""), "not_dft", _CORRELATED),
    (b"\n E2(", re.compile(rb""), "not_energies", _DOUBLE),
    (b"\n ONIOM: ", re.compile(rb""), "not_dft", _LAYERS),
    (b"Excited State   1:", re.compile(rb""), "not_energies", _EXCITED),
    (b"Counterpoise: ", re.compile(rb""), "not_energies", _FRAGMENTS),
)
"""What is printed behind an energy of self-consistency that is not the run's: words, and what must stand there more closely."""
_KEYWORDS: Final[tuple[tuple[re.Pattern[str], str, str], ...]] = (
    (re.compile(r"oniom"), "not_dft", _LAYERS),
    (re.compile(r"external"), "not_dft", "energies of another program (External)"),
    (re.compile(r"counterpoise"), "not_energies", _FRAGMENTS),
    (re.compile(r"massage"), "not_dft", "nuclei, charges or functions that Massage has changed"),
    (re.compile(r"charge"), "not_dft", "point charges around the atoms"),
    (re.compile(r"(?:td|tda|(?:ro|r|u)?cis|eomccsd|eom-ccsd|sac-?ci|zindo)"), "not_energies", _EXCITED),
    (re.compile(r"(?:ro|r|u)?(?:mp[2-5]\w*|cc|ccd|ccsd|qcid|qcisd|bd|cid|cisd|casscf|gvb|ept|ovgf)"), "not_dft", _CORRELATED),
    (re.compile(r"(?:g[1-4](?:mp[234]\w*)?|(?:ro)?cbs-\w+|w1(?:u|bd|ro|bw)?)"), "not_dft", "a composite of several methods"),
)
"""Words of a route, without their options."""
_INSIDE: Final = re.compile(r"\([^()]*\)")


def refuse_text(text: bytes) -> None:
    """Raise UnreadableOutput where a text prints energies beside those of self-consistency, to which the forces belong."""
    for word, pattern, reason, what in _TEXTS:
        if word in text and pattern.search(text):
            raise UnreadableOutput(reason, f"the log of Gaussian has {what}", _REMEDY)


def refuse_route(route: str) -> None:
    """Raise UnreadableOutput where a route asks for other energies, also if the log was cut before it prints them."""
    for word in keywords(route):
        for pattern, reason, what in _KEYWORDS:
            if pattern.fullmatch(word):
                raise UnreadableOutput(reason, f"the log of Gaussian has {what}", _REMEDY)


def refuse_method(name: str) -> None:
    """Raise UnreadableOutput where the energy of self-consistency is that of a method that is no density functional."""
    if _SEMI_EMPIRICAL.match(name):
        raise UnreadableOutput("not_dft", f"the energies are those of {name}", "deposit runs of density-functional theory")
    if _DOUBLE_HYBRID.match(name):
        raise UnreadableOutput("not_energies", f"the log of Gaussian has {_DOUBLE}", _REMEDY)


def keywords(route: str) -> tuple[str, ...]:
    """Return the words of a route, in small letters, without what stands in parentheses or behind '='."""
    while (shorter := _INSIDE.sub("@", route)) != route:
        route = shorter
    words = re.split(r"[\s,/#]+", re.sub(r"\s*=\s*", "=", route.lower()))
    return tuple(re.split("[=@]", word)[0] for word in words if word)
