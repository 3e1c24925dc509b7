"""Pairs by family: forms that are the same, and look-alikes that aren't."""

from __future__ import annotations

import pytest

from harness.grading import Grader, Verdict

SAME = {
    "thousands": [(r"1,000", "1000"), (r"\$1,000.50", "1000.5"), (r"10^6", "1,000,000")],
    "units": [
        ("5", r"5 \text{ cm}"),
        ("1500000", r"1.5 \text{ million}"),
        (r"\frac13", r"\frac{1}{3} \mathbf{meters}"),
        (r"16\pi \text{ cm}^2", r"16\pi"),
        (r"5\sqrt{2}\text{ inches}", r"5\sqrt2"),
        ("60", "60 sq. units"),
        ("90", r"90^\circ"),
        (r"7\text{ students}", "7"),
        (r"12\text{ m/s}", "12"),
        (r"864 \mbox{ inches}^2", "864"),
    ],
    "fractions": [(r"\frac{x+2}{7}", r"\frac{x}{7}+\frac27"), (r"\frac{-1}{2}", r"\frac{1}{-2}")],
    "roots": [(r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}"), (r"\sqrt{8}", "2\N{SQUARE ROOT}2")],
    "decimals": [(r"\frac{\sqrt3}{2}", "0.8660254037844386"), (r"\frac{1000}{3}", "333.333333")],
    "lists": [
        (r"\{1,2\}", r"\{2,1\}"),
        ("1,2", r"x=1 \text{ or } x=2"),
        ("3, 4, 5", r"\{4, 5, 3, 3\}"),
        (r"1\pm\sqrt{2}", r"1+\sqrt2, 1-\sqrt2"),
        ("(1,2),(3,4)", "(3,4),(1,2)"),
        (r"\{(1,2),(3,4)\}", "(1,2),(3,4)"),
        ("3, 4", "x=3, y=4"),
        (r"x_1=3, x_2=-1", "-1, 3"),
        ("p=5,q=2;p=7,q=2", r"(5,2) \text{ and } (7,2)"),
        (r"\text{A, B, C}", "B,A,C"),
        ("$69$,$84$", "84, 69"),
    ],
    "phrases": [
        (r"\frac13", "0.333..."),
        (r"\frac12", r"\sin 30^\circ"),
        (r"(3,\infty)", r"\{x \mid x > 3\}"),
        (r"\frac{\pi}{4}+k\pi", r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}"),
        ("2", r"\lg 100"),
        ("Yes", "yes."),
        (r"\text{June 20}", "June 20"),
        ("(-1,1)", "|x|<1"),
        ("A", "Option A"),
    ],
    "options": [
        ("12", r"\textbf{(C)}\ 12"),
        ("C", r"\textbf{(C)}\ 12"),
        (r"\textbf{(C)}\ 12", "12"),
        (r"\frac{1}{2}", r"\text{(B) }\frac12"),
        ("x+1", r"\text{(B) }1+x"),
    ],
    "matrices as lists": [
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[3,4]]"),
    ],
    "primes": [("f'(x)", r"f^{\prime}(x)"), ("y''+y", r"y^{\prime\prime}+y")],
    "steps": [(r"\left\lfloor \frac{n}{2}\right\rfloor", r"\lfloor n/2\rfloor")],
    "texts": [("73", r"\textbf{(073)}"), ("3", r"\text{3 hours}")],
    "tuples": [
        (r"\left(\frac{1}{2},3\right)", "(0.5, 3)"),
        ("(3,4)", "x=3, y=4"),
        ("(x,y)=(3,4)", "(3,4)"),
        ("(1,2,3)", "[1,2,3]"),
        ("(1,2)", r"\langle 1,2\rangle"),
    ],
    "intervals": [
        (r"(0,1)", "0<x<1"),
        (r"0<f(x)<1", "(0,1)"),
        (r"x \in [0,1]", r"0 \le x \le 1"),
        (r"[3,\infty)", r"3 \le x"),
        (r"(-\infty,1)\cup(2,\infty)", r"(2,\infty)\cup(-\infty,1)"),
        (r"(-\infty,1)\cup(2,\infty)", r"x<1 \text{ or } x>2"),
        ("(0,2)", "2>x>0"),
        ("(1,3]", "x > 1 and x \\le 3"),
        ("1<x<3", "3>x>1"),
        ("x<5", "5>x"),
    ],
    "matrices": [
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"\left[\begin{array}{cc}1&2\\3&4\end{array}\right]",
        ),
        (r"\begin{pmatrix}1/2\\3\end{pmatrix}", r"\begin{bmatrix}\frac12\\ 3 \\ \end{bmatrix}"),
        (
            r"\begin{pmatrix}6&8\end{pmatrix}",
            r"\begin{pmatrix}1&2\end{pmatrix}+\begin{pmatrix}5&6\end{pmatrix}",
        ),
    ],
    "equations": [
        ("x=5", "5"),
        ("2x+1", "f(x) = 2x+1"),
        ("x=y+2", "y=x-2"),
        ("2x+3y=6", "4x+6y-12=0"),
        ("11", "x = 5+6 = 11"),
        ("a_n=2n+1", "2n+1"),
    ],
    "approximations": [(r"\frac13", r"x=\frac13\approx 0.33"), ("11", r"x \approx 11")],
    "labels": [("30", r"\angle ABC = 30^\circ"), ("x+1", "f^{-1}(x) = x+1"), ("5", "|AB| = 5")],
    "expressions": [
        ("x^2+2x+1", "(x+1)^2"),
        (r"\frac{n(n+1)}{2}", r"\binom{n+1}{2}"),
        (r"\frac{(n-1)!}{k!}\cdot\frac{n}{(n-k)!}", r"\frac{n!}{k!(n-k)!}"),
        (r"\sqrt{x}", "x^{1/2}"),
        (r"\frac{a}{b}", "a\N{DIVISION SIGN}b"),
        ("i(2-i)", "1+2i"),
        ("1+2*I", "1+2i"),
        (r"e^{i\pi}", "-1"),
        (r"\frac{1}{2}(\exp{a*t} + \exp{-a*t})", r"\cosh(at)"),
        (r"v \left(\frac{r}{r+s}\right)^{0.5} \frac{1}{r+s}", r"\frac{v}{r} (1+s/r)^{-3/2}"),
        ("np.arcsin(10/13)", r"\sin^{-1}(10/13)"),
        ("5!", "120"),
        (r"\binom{5}{2}", "10"),
    ],
    "words": [
        (r"\text{no solution}", "No solution"),
        (r"\mathrm{even}", "even"),
        (r"\textbf{(A)}", "A"),
        (r"6:30 \text{ p.m.}", "6:30 PM"),
    ],
}
DIFFERENT = {
    "phrases": [
        ("0.333", "0.333..."),
        (r"\sin 30", r"\frac12"),
        ("A", "Option B"),
        (r"(-\infty,3)", r"\{x \mid x > 3\}"),
        ("(-1,1)", "|x|>1"),
        ("[-1,1]", "|x|<1"),
    ],
    "options": [("13", r"\textbf{(C)}\ 12"), ("D", r"\textbf{(C)}\ 12")],
    "steps": [
        (r"\lfloor\sqrt{n-1}\rfloor", r"-\lfloor\sqrt{n-1}\rfloor"),
        (r"\lfloor x\rfloor", r"\lceil x\rceil-1"),
    ],
    "matrices as lists": [
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(2,1)"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "(1,2,3,4)"),
    ],
    "numbers": [("1", "10"), ("1.5", "15"), (r"\frac13", "0.33"), (r"\pi", "3.14"), ("1:2", "2:1")],
    "tiny numbers": [("0", r"\frac{1}{10^9}"), (r"10^{-9}", "0"), (r"1-10^{-9}", "1")],
    "parts of an answer": [
        (r"\sqrt{67}, -\sqrt{85}", r"\sqrt{67}"),
        ("1,2,3", "1,2"),
        ("4", r"\{3,4\}"),
        ("32349", "32, 349"),
        (r"\frac12", r"\frac12 + \foo{"),
        ("5", "5 ???"),
        ("1", "1 + x"),
        ("7", "10 7"),
    ],
    "brackets": [
        ("(1,2)", "[1,2]"),
        ("[1,2)", "(1,2]"),
        (r"\{1,2\}", "(1,2)"),
        (r"\{1,2\}", "[1,2]"),
        (r"(-\infty,1)", r"(-\infty,1]"),
        (r"(-\infty,1)\cup(2,\infty)", r"(-\infty,1)\cup[2,\infty)"),
    ],
    "order": [
        ("(1,2)", "(2,1)"),
        ("x=1,y=2", "x=2,y=1"),
        ("1, 2", "x=2, y=1"),
        ("(1,2),(3,4)", "(1,3),(2,4)"),
        ("p=5,q=2;p=7,q=3", "p=5,q=3;p=7,q=2"),
    ],
    "matrices": [
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
    ],
    "letters": [("x", "X"), ("2x", "2X"), ("f'", "f"), ("x=5", "y=5"), ("e", "E"), ("2", "2i")],
    "letters that could be units": [("5t", "5"), ("5", "5t"), ("2c", "2"), ("2m", "2")],
    "units": [
        ("5 cm", "5 m"),
        ("10 cents", r"10 \text{ dollars}"),
        ("1.5", "1.5 million"),
        (r"16\pi \text{ cm}", r"16\pi \text{ cm}^2"),
    ],
    "relations": [
        ("x>5", "x<5"),
        ("x>5", "y>5"),
        ("1<x<3", "1<y<3"),
        ("x>5", r"x\ge5"),
        ("(0,1)", "x-1<y<2x"),
        ("(1,5)", "1<x<6"),
    ],
    "expressions": [
        (r"\sqrt{x^2}", "x"),
        ("|x|", "x"),
        ("x^2+1", "x^2-1"),
        (r"\sin x", r"\cos x"),
        (r"1\pm\sqrt2", r"1\pm\sqrt3"),
        (r"1\pm\sqrt2", r"1+\sqrt2"),
        ("2x+z=1", "1"),
    ],
    "words": [(r"\text{cat}", r"\text{act}"), (r"\text{odd}", "oddd"), ("5", "five apples")],
    "digits": [("11_2", "11_3"), ("2 3", "5"), (r"0.\overline{3}", "0"), ("5!", "5")],
}


def _cases(families: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [pair for pairs in families.values() for pair in pairs]


@pytest.mark.parametrize(("gold", "pred"), _cases(SAME))
def test_same(grader: Grader, gold: str, pred: str) -> None:
    assert grader.grade(gold=[gold], pred=[pred]) == [Verdict.CORRECT]
    assert grader.grade(gold=[gold, pred], pred=[gold, pred]) == [Verdict.CORRECT] * 2


@pytest.mark.parametrize(("gold", "pred"), _cases(DIFFERENT))
def test_different(grader: Grader, gold: str, pred: str) -> None:
    assert grader.grade(gold=[gold], pred=[pred]) == [Verdict.WRONG]


@pytest.mark.parametrize(("gold", "pred"), _cases(SAME) + _cases(DIFFERENT))
def test_equivalence_for_votes_is_symmetric_and_never_laxer_than_grading(
    grader: Grader, gold: str, pred: str
) -> None:
    (one,) = grader.equivalent(first=[gold], second=[pred])
    assert grader.equivalent(first=[pred], second=[gold]) == [one]
    if one:
        either = grader.grade(gold=[gold, pred], pred=[pred, gold])
        assert Verdict.CORRECT in either
