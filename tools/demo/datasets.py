"""The three generated problem sets: problems, worked solutions and answer checks.

Within one data set every prompt has exactly the same number of characters (numbers are written with a
fixed width), so the length of a prompt says nothing about how hard it is.

    python -m tools.demo.datasets --out data        writes data/<set>/{train,test}.jsonl

The problems written to those files are held out: `stream` never yields one of them, so neither the
base model nor the reinforcement-learning run has seen a problem of `train.jsonl` or `test.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

SEED = 20260
TRAIN_COUNT = 1600
TEST_COUNT = 400

SUM_OPERATIONS = 5
SEARCH_RANGES = (4, 6, 8, 12, 16, 24)
SEARCH_TRIES = 4


@dataclass(frozen=True)
class Problem:
    """One problem. `key` identifies it for the held-out split; `solution` is one worked completion."""

    dataset: str
    key: tuple
    prompt: str
    answer: str
    difficulty: int
    solution: str


# --- chained sums -----------------------------------------------------------------------------------


def _sum_operand(rng: random.Random, total: int, carry: bool) -> tuple[str, int]:
    """Draws `+nn` or `-nn` whose units digit carries (or borrows) exactly when `carry` is true."""
    while True:
        sign = rng.choice("+-")
        operand = rng.randint(1, 99)
        units, digit = total % 10, operand % 10
        if sign == "-" and operand > total:
            continue
        carries = units + digit >= 10 if sign == "+" else units < digit
        if carries == carry:
            return sign, operand


def make_sum(rng: random.Random) -> Problem:
    """`47+38-15+22-09+64=?` solved by its running totals. Difficulty: how many of the steps carry."""
    difficulty = rng.randint(1, SUM_OPERATIONS)
    carries = [True] * difficulty + [False] * (SUM_OPERATIONS - difficulty)
    rng.shuffle(carries)
    while True:
        total = rng.randint(10, 99)
        text, lines = f"{total:02d}", []
        try:
            for carry in carries:
                if total == 0 and carry:  # nothing can carry from 0: draw the chain again
                    raise ValueError
                sign, operand = _sum_operand(rng, total, carry)
                total += operand if sign == "+" else -operand
                text += f"{sign}{operand:02d}"
                lines.append(f"{total:03d}")
        except ValueError:
            continue
        solution = "\n".join(lines) + f"\n#### {total}"
        return Problem("chained-sums", (text,), f"{text}=?\n", str(total), difficulty, solution)


# --- products, multiple choice ----------------------------------------------------------------------


def _carries(first: int, second: int) -> int:
    """Counts the carries of a written addition."""
    count = carry = 0
    while first or second or carry:
        carry = int(first % 10 + second % 10 + carry >= 10)
        count += carry
        first, second = first // 10, second // 10
    return count


def _product_difficulty(a: int, b: int) -> int:
    """1 to 4: one more for each partial product with a carry between digits, one for the final sum."""
    hard = sum((a % 10) * digit >= 10 for digit in divmod(b, 10))
    return 1 + hard + int(_carries(a * (b // 10) * 10, a * (b % 10)) > 0)


def _distractors(rng: random.Random, a: int, product: int) -> list[int]:
    """Three wrong products of the kinds a slip makes: a digit off by one, a missed row, two digits swapped."""
    digits = f"{product:04d}"
    position = rng.randrange(3)
    swapped = digits[:position] + digits[position + 1] + digits[position] + digits[position + 2 :]
    near = [product + sign * step for sign in (1, -1) for step in (2, 10, 20, 100, 110, 10 * a)]
    pool = {value for value in [*near, int(swapped)] if 0 < value < 10000 and value != product}
    return rng.sample(sorted(pool), 3)


def _draw_product(rng: random.Random) -> tuple[int, int, list[int]]:
    """Two factors and four possible products in random order (which only the warm-up form prints)."""
    a, b = rng.randint(11, 99), rng.randint(1, 9) * 10 + rng.randint(1, 9)
    options = [a * b, *_distractors(rng, a, a * b)]
    rng.shuffle(options)
    return a, b, options


def _choice_problem(a: int, b: int, question: str, letter: str) -> Problem:
    """A product worked out by its two partial products, then the letter."""
    tens, units = b // 10 * 10, b % 10
    rows = f"{a}*{tens}={a * tens:04d}\n{a}*{units:02d}={a * units:04d}\n{a * b:04d}"
    solution = f"{rows}\nAnswer: ({letter})"
    return Problem("multiple-choice", (a, b), question, letter, _product_difficulty(a, b), solution)


def make_choice(rng: random.Random) -> Problem:
    """`81*22 tens digit? ...`: the tens digit of a product, by partial products. See `_product_difficulty`."""
    a, b, _ = _draw_product(rng)
    letter = "AAABBCCCDD"[a * b // 10 % 10]
    return _choice_problem(a, b, f"{a}*{b} tens digit? (A)0-2 (B)3-4 (C)5-7 (D)8-9\n", letter)


def make_warmup_choice(rng: random.Random) -> Problem:
    """`34*27=? (A)0918 ...`: the same products with four printed options; used in the first training stage only.

    It draws from `rng` exactly as `make_choice` does, so that both forms hold out the same pairs of factors.
    """
    a, b, options = _draw_product(rng)
    shown = " ".join(f"({name}){value:04d}" for name, value in zip("ABCD", options))
    return _choice_problem(a, b, f"{a}*{b}=? {shown}\n", "ABCD"[options.index(a * b)])


# --- search with feedback ---------------------------------------------------------------------------


def _search_solution(rng: random.Random, a: int, b: int, x: int, size: int) -> str:
    """At most four tries, each drawn from the middle of what the marks so far leave open.

    When no try was right the answer is a guess among what is left, so a solution may end wrong: how well the
    search can go depends on the range and, part-way, on how much of it the tries have ruled out.
    """
    target = a * x + b
    low, high, lines = 1, size, []
    for _ in range(SEARCH_TRIES):
        margin = (high - low) // 4
        guess = rng.randint(low + margin, high - margin)
        value = a * guess + b
        mark = "yes" if value == target else "low" if value < target else "high"
        lines.append(f"{a}*{guess:02d}+{b:02d}={value:03d} {mark}")
        if mark == "yes":
            low = high = guess
            break
        low, high = (guess + 1, high) if mark == "low" else (low, guess - 1)
    answer = rng.randint(low, high)
    return "\n".join(lines) + f"\n\\boxed{{{answer}}}"


def make_search(rng: random.Random) -> Problem:
    """`7*x+03=094 x in 01-16` solved by marked tries. Difficulty: 1 to 6, the size of the range."""
    difficulty = rng.randint(1, len(SEARCH_RANGES))
    size = SEARCH_RANGES[difficulty - 1]
    a, b, x = rng.randint(2, 9), rng.randint(0, 19), rng.randint(1, size)
    prompt = f"{a}*x+{b:02d}={a * x + b:03d} x in 01-{size:02d}\n"
    solution = _search_solution(rng, a, b, x, size)
    return Problem("feedback-search", (a, b, x, size), prompt, str(x), difficulty, solution)


# --- the sets ---------------------------------------------------------------------------------------

MAKERS = {"chained-sums": make_sum, "multiple-choice": make_choice, "feedback-search": make_search}
WARMUP_MAKERS = {"multiple-choice": make_warmup_choice}
CHECKS = {"chained-sums": "gsm8k", "multiple-choice": "choice", "feedback-search": "math"}
_PATTERNS = {"gsm8k": r"#### (\d+)$", "choice": r"Answer: \(([A-D])\)$", "math": r"\\boxed\{(\d+)\}$"}


def is_correct(check: str, completion: str, answer: str) -> bool:
    """True when the completion ends in the answer, in the form that `check` names."""
    found = re.search(_PATTERNS[check], completion)
    return found is not None and found.group(1) == answer


def held_out(name: str) -> dict[str, list[Problem]]:
    """The problems of `train.jsonl` and `test.jsonl`: no problem occurs twice."""
    rng = random.Random(f"{SEED}:{name}")
    problems: dict[tuple, Problem] = {}
    while len(problems) < TRAIN_COUNT + TEST_COUNT:
        problem = MAKERS[name](rng)
        problems.setdefault(problem.key, problem)
    ordered = list(problems.values())
    return {"test": ordered[:TEST_COUNT], "train": ordered[TEST_COUNT:]}


def stream(name: str, seed: int, warmup: bool = False) -> Iterator[Problem]:
    """An endless seeded stream of problems, none of them in `held_out(name)`; optionally in their warm-up form."""
    maker = WARMUP_MAKERS.get(name, MAKERS[name]) if warmup else MAKERS[name]
    excluded = {problem.key for split in held_out(name).values() for problem in split}
    rng = random.Random(f"{seed}:{name}:stream")
    while True:
        problem = maker(rng)
        if problem.key not in excluded:
            yield problem


def to_row(problem: Problem, split: str, index: int) -> dict:
    """The JSON object that is stored for a problem."""
    return {
        "id": f"{problem.dataset}-{split}-{index:04d}",
        "prompt": problem.prompt,
        "answer": problem.answer,
        "check": CHECKS[problem.dataset],
        "difficulty": problem.difficulty,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo data sets.")
    parser.add_argument("--out", type=Path, default=Path("data"))
    out = parser.parse_args().out
    for name in MAKERS:
        (out / name).mkdir(parents=True, exist_ok=True)
        for split, problems in held_out(name).items():
            rows = [to_row(problem, split, index) for index, problem in enumerate(problems)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (out / name / f"{split}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
