"""Instances for a machine without the shared ones: seeded, so that every machine gets the same files."""

import json
import random


def space(seed, low, high, tables, share):
    """Nine decisions of `low` to `high` options; `tables` pair tables that let `share` of the pairs through."""
    dice = random.Random(seed)
    names = [f"part-{d}" for d in range(9)]
    decisions = []
    for name in names:
        options = []
        for o in range(dice.randint(low, high)):
            figures = {a: dice.randint(10, 90) for a in ("weight", "noise", "twr")}
            options.append({"id": f"d{o}", "attributes": {"donor": o, "score": dice.randint(0, 999), **figures}})
        decisions.append({"name": name, "options": options})
    ids = {d["name"]: [o["id"] for o in d["options"]] for d in decisions}
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    constraints = []
    for a, b in dice.sample(pairs, tables):
        tuples = [[x, y] for x in ids[a] for y in ids[b] if dice.random() < share]
        constraints.append({"name": f"{a}+{b}", "allowed": {"decisions": [a, b], "tuples": tuples}})
    for c in range(3):
        three = dice.sample(names, 3)
        tuples = [[dice.choice(ids[d]) for d in three] for _ in range(10)]
        constraints.append({"name": f"conflict-{c}", "forbidden": {"decisions": three, "tuples": tuples}})
    constraints.append({"name": "weight", "sum": {"attribute": "weight"}, "max": 400})
    constraints.append({"name": "noise", "sum": {"attribute": "noise"}, "max": 420})
    constraints.append({"name": "twr", "sum": {"attribute": "twr"}, "min": 470})
    constraints.append({"name": "diversity", "same": {"attribute": "donor"}, "max": 3})
    objective = {"minimise": {"sum": {"attribute": "score"}}}
    return {"design_space": 1, "name": f"generated-{seed}", "decisions": decisions, "constraints": constraints, "objective": objective}


def write(folder):
    """The paths of a small and a middle space."""
    paths = []
    for name, arguments in (("small", (1, 6, 9, 12, 0.6)), ("middle", (2, 11, 15, 12, 0.55))):
        path = folder / f"generated-{name}.json"
        path.write_text(json.dumps(space(*arguments)))
        paths.append(path)
    return paths
