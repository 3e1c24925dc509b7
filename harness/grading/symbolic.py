r"""Single values compared by algebra: math-verify's parser, numeric probes, math-verify's verdict.

For worker processes only: what runs here may hang or eat memory. sympy and math-verify are
imported at the first use.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Decimal digits of the numeric probes, and the relative difference below which values are equal.
PROBE_DIGITS, PROBE_TOLERANCE = 40, 1e-25
#: What math-verify rounds to when one side is a decimal; here relative below 1, absolute above.
FLOAT_TOLERANCE = 1e-6
# Points for the free symbols: positive ones first, then of both signs. Any algebraic numbers would
# do; these are neither integers nor simply related, so that no identity holds at them by chance.
_POINTS = (
    ("1.3728406121", "2.8437100323", "0.7290845137", "1.9120484193", "3.1768830221"),
    ("0.4187205561", "1.1093766237", "2.3345107719", "0.8820173341", "1.6479302287"),
)
# Larger ones, integers among them, for functions made of steps: 0 at most small numbers, and two of
# them may differ at integers alone.
_FAR_POINTS = (
    ("37.8406121372", "28.3710032384", "57.9084513729", "19.2048419312", "43.7688302231"),
    ("14", "71", "23", "88", "61"),
)
_SIGNS = ((-1, 1, -1, 1, -1), (-1, -1, 1, 1, -1))


@lru_cache(maxsize=1)
def _library() -> tuple[Callable[[str], Any], Callable[..., Any]]:
    """(read, verify), imported late: sympy stays out of processes that never need it."""
    import logging

    from latex2sympy2_extended.latex2sympy2 import (  # type: ignore[import-untyped, unused-ignore]
        NormalizationConfig,
        latex2sympy,
        normalize_latex,
    )
    from math_verify import verify  # type: ignore[import-untyped, unused-ignore]
    from math_verify.grader import (  # type: ignore[import-untyped, unused-ignore]
        should_treat_as_complex,
    )

    # Its notice that the SIGALRM time-outs are off: the pool's deadline replaces them.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # Units are taken off before, where they can be told from variables: its own rule for them
    # takes the t off "5t".
    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )

    def read(text: str) -> Any:
        latex = normalize_latex(text, config)
        return latex2sympy(
            latex,
            is_real=not should_treat_as_complex(latex),
            convert_degrees=False,
            normalization_config=None,
        )

    return read, verify


@lru_cache(maxsize=256)
def parsed(text: str) -> Any:
    """The expression that math-verify's parser makes of one normalised value.

    Its own ``parse`` isn't used: where a text can't be read as a whole, that takes the last number
    or fraction in it, and calls it the answer.
    """
    return _library()[0](text)


def equal(gold: str, pred: str, rel_tol: float = 0.0, abs_tol: float = 0.0) -> bool:
    """Whether two normalised single values agree, gold's form deciding as in math-verify.

    What can't be read or compared is unequal. Raises MemoryError at the worker's limit, so that it
    isn't mistaken for a verdict.
    """
    try:
        left, right = parsed(gold), parsed(pred)
        if left is None or right is None:
            return False
        probed = _probe(left, right, rel_tol, abs_tol)
        return _verified(left, right) if probed is None else probed
    except MemoryError:
        raise
    except Exception:  # a parser failure: not shown to be equal
        return False


def _verified(gold: Any, pred: Any) -> bool:
    """math-verify's verdict on one pair; errors other than MemoryError mean unequal."""
    try:
        return bool(_library()[1](gold, pred, timeout_seconds=None, raise_on_error=True))
    except MemoryError:
        raise
    except Exception:  # sympy raises almost anything on odd input
        return False


def _probe(first: Any, second: Any, rel_tol: float, abs_tol: float) -> bool | None:
    r"""Compare two expressions at points; None where that decides nothing.

    Expressions in the same symbols that agree at positive points are equal for positive values of
    the symbols, which is how they are meant in ``\left(\frac{r_0}{r + r_0}\right)^{0.5}``; where
    both are also real at points of mixed sign they have to agree there too, so that ``|x|`` isn't
    ``x``. Much faster than ``simplify``, which math-verify calls, for expressions that differ.
    """
    import sympy  # type: ignore[import-untyped, unused-ignore]

    if not (isinstance(first, sympy.Expr) and isinstance(second, sympy.Expr)):
        return None
    if any(
        e.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Derivative, sympy.Limit)
        or e.has(sympy.core.function.AppliedUndef, sympy.oo, sympy.zoo, sympy.nan)
        for e in (first, second)
    ):
        return None
    pair = [_exact(e) for e in (first, second)]
    symbols = sorted(pair[0].free_symbols | pair[1].free_symbols, key=str)
    if not symbols:
        a, b = (_value(e) for e in pair)
        if rel_tol or abs_tol:
            return _within(a, b, rel_tol, abs_tol)
        return _close(a, b, inexact=_inexact(first) or _inexact(second))
    if len(symbols) > 12:
        return None
    decided = None
    steps = any(e.has(sympy.floor, sympy.ceiling, sympy.sign, sympy.Mod) for e in pair)
    rows = _FAR_POINTS if steps else _POINTS
    for points, signs in zip(rows, _SIGNS, strict=True):
        for mixed in (False, True):
            at = {
                s: _point(points[i % 5], i // 5, signs[i % 5] if mixed else 1)
                for i, s in enumerate(symbols)
            }
            a, b = (_value(e.subs(at)) for e in pair)
            if a is None or b is None:
                continue
            if mixed and not (a.is_real and b.is_real):
                continue
            close = _close(a, b)
            if close is False:
                return False
            decided = decided or (True if close and not mixed else None)
    return decided


def _point(digits: str, lap: int, sign: int) -> Any:
    """The value of one symbol; more than five symbols take the same digits times 2, 3, ..."""
    import sympy  # type: ignore[import-untyped, unused-ignore]

    return sympy.Float(digits, PROBE_DIGITS) * (1 + lap) * sign


def _inexact(expression: Any) -> bool:
    """Whether an expression holds a decimal of 4 places or more, which may have been rounded."""
    import sympy  # type: ignore[import-untyped, unused-ignore]

    return any(len(str(f).partition(".")[2].strip("0")) > 3 for f in expression.atoms(sympy.Float))


def _exact(expression: Any) -> Any:
    """Decimals as fractions, lest an exponent such as 0.5 blurs a probe; ``i`` is imaginary."""
    import sympy  # type: ignore[import-untyped, unused-ignore]

    replaced: dict[Any, Any] = {f: sympy.Rational(str(f)) for f in expression.atoms(sympy.Float)}
    replaced |= {s: sympy.I for s in expression.free_symbols if str(s) == "i"}
    return expression.xreplace(replaced)


def _value(expression: Any) -> Any:
    """A finite complex number with ``PROBE_DIGITS`` digits, or None."""
    import sympy  # type: ignore[import-untyped, unused-ignore]

    value = sympy.N(expression, PROBE_DIGITS)
    if not value.is_number or value.has(sympy.oo, sympy.zoo, sympy.nan):
        return None
    real, imaginary = value.as_real_imag()
    if not (real.is_Float or real.is_Integer) or not (imaginary.is_Float or imaginary.is_Integer):
        return None
    return value


def _within(first: Any, second: Any, rel_tol: float, abs_tol: float) -> bool | None:
    """Whether two numbers agree within a tolerance as math.isclose has it; None if either is."""
    if first is None or second is None:
        return None
    return bool(abs(first - second) <= max(rel_tol * max(abs(first), abs(second)), abs_tol))


def _close(first: Any, second: Any, *, inexact: bool = False) -> bool | None:
    """Whether two numbers agree to the probes' precision (or to 6 places); None if either is."""
    if first is None or second is None:
        return None
    difference, size = abs(first - second), max(abs(first), abs(second))
    if size < 1e-30:  # zero, or too small to tell from it
        return True if size == 0 else None
    if inexact:
        return bool(difference <= FLOAT_TOLERANCE * min(1, size))
    return bool(difference <= PROBE_TOLERANCE * size)
