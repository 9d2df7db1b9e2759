"""Pairs of expressions whose equality SymPy decides, for the check `math`.

    python tools/reward/make_pairs.py test/fixtures/reward/sympy.json

Random expressions are rewritten by SymPy (expand, factor, together, ...), some then changed; `same` is whether they are
equal by `equals`, which proves what `simplify` alone would miss. Half of the pairs are equal. Made with SymPy 1.14.0.
"""

import json
import random
import sys

import sympy as sp

X, Y = sp.symbols("x y")
COUNT = 150
REWRITES = [sp.expand, sp.factor, sp.together, sp.simplify, sp.trigsimp, sp.radsimp, lambda e: e]
CHANGES = [lambda e: e + 1, lambda e: 2 * e, lambda e: -e, lambda e: e + sp.Rational(1, 100), lambda e: e.subs(sp.pi, 3)]


def expression(rng, depth, symbols):
    if depth == 0 or rng.random() < 0.2:
        number = sp.Rational(rng.randint(1, 9), rng.randint(2, 9))
        return rng.choice([sp.Integer(rng.randint(1, 9)), number, sp.pi, sp.sqrt(rng.randint(2, 7)), *(symbols * 3)])
    first = expression(rng, depth - 1, symbols)
    kind = rng.randint(0, 8)
    if kind == 6:
        return first ** rng.randint(2, 3)
    if kind == 7:
        return rng.choice([sp.sin, sp.cos, sp.sqrt])(first)
    if kind == 8:
        return -first
    second = expression(rng, depth - 1, symbols)
    if kind <= 2:
        return first + second if kind <= 1 else first - second
    return first * second if kind <= 4 else first / (second + rng.randint(1, 3))


def pair(rng):
    symbols = rng.choice([[], [X], [X, Y]])
    gold = expression(rng, 3, symbols)
    answer = rng.choice(REWRITES)(gold)
    if rng.random() < 0.5:
        answer = rng.choice(CHANGES)(answer)
    texts = [sp.latex(side) for side in (gold, answer)]
    if any(side.has(sp.zoo, sp.nan, sp.oo) for side in (gold, answer)) or max(map(len, texts)) > 120:
        return None
    return {"gold": texts[0], "answer": texts[1], "same": gold.equals(answer)}


def main():
    rng = random.Random(3)
    pairs = []
    while len(pairs) < COUNT:
        made = pair(rng)
        full = made is not None and sum(other["same"] is made["same"] for other in pairs) >= COUNT // 2
        if made is not None and made["same"] is not None and not full and made["gold"] != made["answer"] and made not in pairs:
            pairs.append(made)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(made) for made in pairs) + "\n]\n")


main()
