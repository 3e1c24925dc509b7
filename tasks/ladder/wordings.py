"""Every wording of the ladder: slots, and the templates of each kind of clause.

A template is plain text with ``{slot}`` (one of several interchangeable wordings) and ``<a>``
(a number). The generator fills it and the parser compiles it to a regular expression, so both
speak the same language by construction. Every slot has at least three wordings and every kind of
clause at least three templates: a word that a vocabulary mask removes leaves another way to say
the same thing. No clause depends on a word of another clause, which keeps a tiny model's
sentences well formed; only numbers tie the clauses together.
"""

from __future__ import annotations

from typing import Final

SLOTS: Final[dict[str, tuple[str, ...]]] = {
    # who and what
    "name": ("tom", "mia", "sam", "ana", "leo", "zoe"),
    "thing": ("apples", "coins", "cards", "beads", "shells", "stamps", "pens", "nuts"),
    "being": ("people", "birds", "kids", "cats", "guests"),
    "box": ("a box", "a jar", "a bag", "a tin"),
    "unit": ("boxes", "bags", "trays", "packs", "crates"),
    "line": ("rows", "lines", "piles", "stacks"),
    "field": ("a hall", "a field", "a shop", "a garden"),
    "cord": ("a rope", "a wire", "a string", "a pipe"),
    "length": ("feet", "inches", "yards", "steps"),
    "piece": ("pieces", "bits", "parts", "strips"),
    "player": ("players", "friends", "teams", "girls", "boys"),
    "series": ("pattern", "list", "series", "row"),
    # joints
    "and": ("and", "and then", "and later", "and soon"),
    "but": ("but", "but then", "but later", "yet"),
    "from": ("from", "of", "out of"),
    "with": ("with", "of", "holding"),
    "into": ("into", "in", "to fill"),
    "each": ("each", "apiece", "a piece", "every time"),
    "then": ("then", "next", "later", "after that", "now"),
    "it": ("it", "that", "this", "the count", "the amount"),
    "more": ("more", "extra", "new", "further"),
    # verbs and endings of the stories
    "has": ("has", "owns", "holds", "keeps"),
    "contains": ("holds", "contains", "stores", "has"),
    "gets": ("gets", "finds", "buys", "wins", "earns"),
    "wait": ("wait", "sit", "stand", "rest"),
    "come": ("come", "join", "arrive", "turn up"),
    "put": ("are added", "are put in", "go in"),
    "had": ("had", "owned", "held", "kept"),
    "lost": ("lost", "sold", "spent", "gave away"),
    "stood": ("sat", "stood", "rested", "waited"),
    "flew": ("left", "ran off", "went home"),
    "used": ("are used", "are sold", "are broken", "get lost"),
    "fills": ("fills", "packs", "makes"),
    "shows": ("has", "shows", "holds"),
    "cost": ("cost", "sell for", "go for"),
    "coin": ("coins", "dollars", "cents"),
    "packed": ("are packed", "are put", "are sorted", "are placed"),
    "full": ("counting full ones", "counting only full ones", "and full ones count"),
    "cuts": ("cuts", "saws", "splits", "chops"),
    "pays": ("spends", "pays", "uses"),
    "buying": ("on tickets", "on toys", "on cakes", "on books"),
    "dealt": ("are dealt", "are shared", "are given", "are handed"),
    "evenly": ("evenly", "fairly", "equally"),
    "among": ("to", "among", "between"),
    "rest": ("keeping the rest", "and the rest is kept", "leaving a rest", "with a rest"),
    "shares": ("shares", "deals", "splits"),
    "takes": ("takes", "picks", "removes"),
    "groups": ("groups", "sets", "bunches", "lots"),
    "goes": ("goes", "runs", "reads", "starts"),
    "onward": ("and goes on", "and continues", "and one follows", "and so on"),
    "says": ("writes", "says", "reads", "counts"),
    # verbs and endings of the further steps
    "addup": ("come", "are added", "join", "arrive"),
    "grows": ("grows", "rises", "goes up", "climbs"),
    "gone": ("are lost", "are taken", "are removed", "leave"),
    "falls": ("falls", "drops", "goes down", "shrinks"),
    "scaled": ("is multiplied", "is scaled", "is expanded"),
    "becomes": ("becomes", "turns into", "gets to"),
    "times": ("times as much", "times as big", "times its size"),
    "divided": ("is divided", "is split", "is cut"),
    "down": ("rounded down", "dropping fractions", "ignoring the rest"),
    "one": ("one share is kept", "one share stays", "one share counts"),
    "shared": ("shared by", "shared among", "split among"),
    "only": ("only", "just", "merely"),
    "remainder": ("the remainder", "the leftover", "the odd bit"),
    "modulo": ("after dividing by", "on division by", "over groups of"),
    "stays": ("stays", "is kept", "counts", "remains"),
    "all": ("all", "anything", "everything", "whatever is"),
    "above": ("above", "over", "beyond", "past"),
    "dropped": ("is dropped", "is cut off", "is ignored", "is thrown out"),
    "limited": ("is limited to", "is capped at", "may not pass"),
    # the question itself
    "now": ("now", "in the end", "at last", "finally"),
    "left": ("are there", "is that", "does that make", "remain"),
    "what": ("what is", "what was", "so what is"),
    "result": ("result", "total", "final count", "answer", "last number"),
    "find": ("can you find", "can you tell", "who knows", "can you name"),
    "the": ("the", "the right", "the true"),
}

# The opening sentence of each story; its numbers are a, b (and c for the series).
STORIES: Final[dict[str, tuple[str, ...]]] = {
    "gain": (
        "{name} {has} <a> {thing} {and} {gets} <b> {more}",
        "<a> {being} {wait} {and} <b> {more} {come}",
        "{box} {contains} <a> {thing} {and} <b> {more} {put}",
    ),
    "lose": (
        "{name} {had} <a> {thing} {but} {lost} <b>",
        "<a> {being} {stood} {but} <b> {flew}",
        "{from} <a> {thing} <b> {used}",
    ),
    "rows": (
        "{field} {shows} <a> {line} {with} <b> {thing}",
        "{name} {fills} <a> {unit} {with} <b> {thing}",
        "<a> {thing} {cost} <b> {coin} {each}",
    ),
    "pack": (
        "<a> {thing} {packed} {into} {unit} of <b>, {full}",
        "{name} {cuts} <a> {length} of {cord} into {piece} of <b>, {full}",
        "{name} {pays} <a> {coin} {buying} at <b> {each}",
    ),
    "rest": (
        "<a> {thing} {dealt} {evenly} {among} <b> {player}, {rest}",
        "{name} {shares} <a> {thing} {among} <b> {player}, {rest}",
        "{name} {takes} <a> {thing} in {groups} of <b>, {rest}",
    ),
    "list": (
        "the {series} {goes} <a>, <b>, <c> {onward}",
        "a {series} {goes} <a>, <b>, <c> {onward}",
        "{name} {says} <a>, <b>, <c> {onward}",
    ),
}

# A further sentence: one more step on the running value; its number is k. Each core wording
# stands alone, after a "then", or before a "now".
_CORES: Final[dict[str, tuple[str, ...]]] = {
    "add": ("<k> {more} {addup}", "{it} {grows} by <k>"),
    "sub": ("<k> {gone}", "{it} {falls} by <k>"),
    "mul": ("{it} {scaled} by <k>", "{it} {becomes} <k> {times}"),
    "div": ("{it} {divided} by <k>, {down}", "{it} is {shared} <k> {player}, {one}"),
    "mod": ("{only} {remainder} {modulo} <k> {stays}", "{remainder} {modulo} <k> {stays}"),
    "cap": ("{all} {above} <k> {dropped}", "{it} {limited} <k>"),
}
STEPS: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(t for core in cores for t in ("{then} " + core, core, core + " {now}"))
    for name, cores in _CORES.items()
}

# Sensible mixtures that the generator never writes but a model does: the parser reads them too.
ALSO_READ: Final[dict[str, tuple[str, ...]]] = {
    "gain": (
        "{name} {has} <a> {thing} {and} <b> {more} {put}",
        "{name} {has} <a> {thing} {and} <b> {more} {come}",
        "{box} {contains} <a> {thing} {and} <b> {more} {come}",
        "<a> {thing} {wait} {and} <b> {more} {come}",
    ),
    "lose": (
        "{name} {had} <a> {thing} {but} <b> {flew}",
        "{name} {had} <a> {thing} {but} <b> {used}",
        "<a> {being} {stood} {but} <b> {gone}",
        "{from} <a> {thing} <b> {gone}",
    ),
    **{n: tuple("{then} " + core + " {now}" for core in cores) for n, cores in _CORES.items()},
}

# The ask clause, the same for every topic; a question mark follows.
ASK: Final[tuple[str, ...]] = (
    "how many {left}",
    "how many {left} {now}",
    "{what} {the} {result}",
    "{what} {the} {result} {now}",
    "{find} {the} {result}",
    "{find} {the} {result} {now}",
)
