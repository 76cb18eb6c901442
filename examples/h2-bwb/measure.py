"""Measures this example without any code of the runtime.

Reads space.yaml, scenarios.yaml and costs.yaml; prints how many designs are feasible, how many more
would be without each constraint, and which design is chosen for a range of risk weights, with its cost by term.
It shares nothing with the solvers, so that expected.json (its output with --write) can hold them to account.

Rule: feasibility is decided on integers. Scenarios are drawn by this script's own sampler; only what
holds for every seed tried is written to expected.json. Needs Python 3.11, numpy, scipy, PyYAML.
Start at `main`.
"""

import argparse
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import norm, qmc

HERE = Path(__file__).parent
RISK_WEIGHTS = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 5.0]
INFINITE = 1 << 60


class ExactLoader(yaml.SafeLoader):
    """Reads decimals as decimals: 0.113 stays 113/1000."""


ExactLoader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(node.value))


# ---------------------------------------------------------------- feasibility

class Space:
    def __init__(self, text):
        self.data = yaml.load(text, ExactLoader)
        self.names = [d["name"] for d in self.data["decisions"]]
        self.ids = [[o["id"] for o in d["options"]] for d in self.data["decisions"]]
        self.attributes = [[o["attributes"] for o in d["options"]] for d in self.data["decisions"]]
        self.constraints = self.data["constraints"]

    def positions(self, rule):
        return [self.names.index(n) for n in rule.get("decisions", self.names)]

    def weighted(self, terms, positions):
        """Per decision a list with, per option, the scaled integer sum of times * attribute."""
        scale = 10 ** 4
        table = [[0] * len(ids) for ids in self.ids]
        for term in terms:
            for d in positions:
                for o, attributes in enumerate(self.attributes[d]):
                    value = attributes.get(term["attribute"], term.get("missing"))
                    if value is None:
                        raise SystemExit(f"{self.names[d]} {self.ids[d][o]} lacks {term['attribute']}")
                    exact = Decimal(value) * Decimal(term.get("times", 1)) * scale
                    if exact != int(exact):
                        raise SystemExit(f"{term} needs more than four decimal places")
                    table[d][o] += int(exact)
        return [np.array(t, dtype=np.int64) for t in table], scale

    def prepare(self, without=None):
        """Sorts the constraints into what the search below can check at a prefix of decisions."""
        allowed = [np.ones(len(ids), bool) for ids in self.ids]
        tuples, linear, counted = [], [], []
        for c in self.constraints:
            if c["name"] == without:
                continue
            bounds = (c.get("min"), c.get("max"))
            if "each" in c:
                for d in self.positions(c["each"]):
                    for o, a in enumerate(self.attributes[d]):
                        value = a.get(c["each"]["attribute"])
                        good = value is not None
                        if good and "equals" in c:
                            good = value == c["equals"]
                        elif good:
                            good = (bounds[0] is None or value >= bounds[0]) and (bounds[1] is None or value <= bounds[1])
                        allowed[d][o] &= good
            elif "allowed" in c or "forbidden" in c:
                rule = c.get("allowed") or c["forbidden"]
                positions = self.positions(rule)
                table = np.full([len(self.ids[d]) for d in positions], "forbidden" in c)
                for t in rule["tuples"]:
                    table[tuple(self.ids[d].index(i) for d, i in zip(positions, t))] = "allowed" in c
                tuples.append((positions, table))
            elif "if" in c:
                positions = [self.names.index(c[k]["decision"]) for k in ("if", "then")]
                table = np.ones([len(self.ids[d]) for d in positions], bool)
                for i in c["if"]["in"]:
                    table[self.ids[positions[0]].index(i), :] = [j in c["then"]["in"] for j in self.ids[positions[1]]]
                tuples.append((positions, table))
            elif "same" in c or "distinct" in c:
                rule = c.get("same") or c["distinct"]
                counted.append(("same" if "same" in c else "distinct", rule["attribute"], self.positions(rule), c["max"]))
            elif "ratio" in c:
                # of / over >= min with over > 0 is of - min * over >= 0
                rule = c["ratio"]
                assert "max" not in c
                terms = [{"attribute": rule["of"], "missing": rule.get("missing")},
                         {"attribute": rule["over"], "times": -Decimal(c["min"]), "missing": rule.get("missing")}]
                table, _ = self.weighted(terms, self.positions(rule))
                linear.append((table, 0, INFINITE))
            else:
                terms = c["linear"] if "linear" in c else [c["sum"]]
                positions = self.positions(c["sum"]) if "sum" in c else range(len(self.names))
                table, scale = self.weighted(terms, positions)
                low, high = (int(Decimal(b) * scale) if b is not None else s for b, s in zip(bounds, (-INFINITE, INFINITE)))
                linear.append((table, low, high))
        return allowed, tuples, linear, counted

    def feasible(self, without=None):
        """All feasible designs, one row of option positions each, in canonical order."""
        allowed, tuples, linear, counted = self.prepare(without)
        extremes = []
        for table, _, _ in linear:
            least = [t[a].min() if a.any() else 0 for t, a in zip(table, allowed)]
            most = [t[a].max() if a.any() else 0 for t, a in zip(table, allowed)]
            extremes.append((np.array(least), np.array(most)))
        prefixes = np.zeros((1, 0), np.int16)
        for d in range(len(self.names)):
            options = np.flatnonzero(allowed[d]).astype(np.int16)
            kept = []
            for chunk in np.array_split(prefixes, max(1, len(prefixes) // 200_000)):
                rows = np.hstack([np.repeat(chunk, len(options), axis=0), np.tile(options, len(chunk))[:, None]])
                for positions, table in tuples:
                    if max(positions) == d:
                        rows = rows[table[tuple(rows[:, p] for p in positions)]]
                for (table, low, high), (least, most) in zip(linear, extremes):
                    total = sum(table[p][rows[:, p]] for p in range(d + 1))
                    rows = rows[(total + most[d + 1:].sum() >= low) & (total + least[d + 1:].sum() <= high)]
                for kind, attribute, positions, limit in counted:
                    values = [np.array([a.get(attribute, -1 - k) for k, a in enumerate(self.attributes[p])])[rows[:, p]]
                              for p in positions if p <= d]
                    ordered = np.sort(np.stack(values, axis=1), axis=1)
                    if kind == "distinct":
                        number = 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)
                        rows = rows[number <= limit]
                    elif ordered.shape[1] > limit:
                        rows = rows[~(ordered[:, limit:] == ordered[:, :-limit]).any(axis=1)]
                kept.append(rows)
            prefixes = np.concatenate(kept)
        return prefixes

    def ids_of(self, row):
        return {n: self.ids[d][row[d]] for d, n in enumerate(self.names)}


# ---------------------------------------------------------------- scenarios and costs

def scenarios(data, seed, count=None, method=None):
    """Columns by variable: a Gaussian copula over a latin hypercube (or plain random numbers)."""
    names = list(data["variables"])
    correlation = np.eye(len(names))
    for a, b, r in data["correlations"]:
        i, j = names.index(a), names.index(b)
        correlation[i, j] = correlation[j, i] = r
    least = np.linalg.eigvalsh(correlation)[0]
    assert least > 0, f"correlations are not positive definite: least eigenvalue {least}"
    count = count or data["count"]
    if (method or data["sampling"]) == "latin-hypercube":
        uniform = qmc.LatinHypercube(len(names), rng=np.random.default_rng(seed)).random(count)
    else:
        uniform = np.random.default_rng(seed).random((count, len(names)))
    u = norm.cdf(norm.ppf(uniform) @ np.linalg.cholesky(correlation).T)
    columns = {}
    for k, name in enumerate(names):
        v, q = data["variables"][name], u[:, k]
        if "uniform" in v:
            a, b = v["uniform"]
            columns[name] = a + (b - a) * q
        elif "uniform_integer" in v:
            a, b = v["uniform_integer"]
            columns[name] = np.minimum(b, np.floor(a + (b - a + 1) * q))
        elif "triangular" in v:
            a, m, b = v["triangular"]
            cut = (m - a) / (b - a)
            columns[name] = np.where(q < cut, a + np.sqrt(q * (b - a) * (m - a)),
                                     b - np.sqrt((1 - q) * (b - a) * (b - m)))
        else:
            mean, sd = v["normal"]["mean"], v["normal"]["sd"]
            columns[name] = np.clip(norm.ppf(q, mean, sd), v.get("min"), v.get("max"))
    return columns, least


def design_figures(space, costs, designs):
    """The cost model's attributes of every design, as doubles."""
    figures = {}
    for name, how in costs["attributes"].items():
        if "decision" in how:
            d = space.names.index(how["decision"])
            table = np.array([float(a.get(name, how.get("missing", "nan"))) for a in space.attributes[d]])
            figures[name] = table[designs[:, d]]
        else:
            tables = [np.array([float(a.get(name, 0)) for a in options]) for options in space.attributes]
            assert how["aggregate"] == "sum", "this script knows sums and single decisions"
            figures[name] = sum(t[designs[:, d]] for d, t in enumerate(tables))
        assert np.isfinite(figures[name]).all(), name
    return figures


def compiled(costs):
    functions = {"exp": np.exp, "ln": np.log, "sqrt": np.sqrt}
    return {n: (compile(f.replace("^", "**"), n, "eval"), functions) for n, f in costs["terms"].items()}


def term_costs(terms, figures, columns, rows):
    """One matrix (designs x scenarios) per term, in the cost model's unit."""
    names = {k: v[rows][:, None] for k, v in figures.items()} | {k: v[None, :] for k, v in columns.items()}
    shape = (len(rows), len(next(iter(columns.values()))))
    return {n: np.broadcast_to(eval(code, {"__builtins__": {}}, names | functions), shape)
            for n, (code, functions) in terms.items()}


def cvar(costs, level):
    """Mean of the worst 1 - level share of each row; the boundary scenario counts by its share."""
    count = costs.shape[1]
    tail = (1 - level) * count
    whole = int(np.floor(tail + 1e-9))
    ordered = np.sort(costs, axis=1)[:, ::-1]
    total = ordered[:, :whole].sum(axis=1)
    if tail - whole > 1e-9:
        total = total + (tail - whole) * ordered[:, whole]
    return total / tail


def expected_and_cvar(terms, figures, columns, level, chunk=2000):
    parts = []
    for start in range(0, len(next(iter(figures.values()))), chunk):
        rows = np.arange(start, min(start + chunk, len(next(iter(figures.values())))))
        total = sum(term_costs(terms, figures, columns, rows).values())
        parts.append((total.mean(axis=1), cvar(total, level)))
    return tuple(np.concatenate(p) for p in zip(*parts))


def frontier(expected, worst):
    """Designs that no other beats in both expected cost and CVaR."""
    order = np.lexsort((worst, expected))
    best, keep = np.inf, []
    for i in order:
        if worst[i] < best:
            best = worst[i]
            keep.append(i)
    return keep


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="scenario seeds to try for the choices")
    parser.add_argument("--no-binding", action="store_true", help="skip the search without each constraint")
    parser.add_argument("--write", action="store_true", help="write expected.json")
    given = parser.parse_args()
    space = Space((HERE / "space.yaml").read_text())
    model = yaml.safe_load((HERE / "scenarios.yaml").read_text())
    costs = yaml.safe_load((HERE / "costs.yaml").read_text())
    workflow = yaml.safe_load((HERE / "full-optimization.yaml").read_text())
    level, weight = workflow["params"]["cvar_level"], workflow["params"]["risk_weight"]

    raw = int(np.prod([len(i) for i in space.ids], dtype=np.int64))
    donors = {a["donor"] for options in space.attributes for a in options}
    designs = space.feasible()
    print(f"{sum(map(len, space.ids))} options, {len(donors)} donors, {raw} combinations, {len(designs)} feasible")
    check_derived(space, designs)
    never = [f"{n}={i}" for d, n in enumerate(space.names) for o, i in enumerate(space.ids[d]) if o not in designs[:, d]]
    print("options in no feasible design:", " ".join(never))
    removed = {}
    if not given.no_binding:
        for c in space.constraints:
            removed[c["name"]] = len(space.feasible(without=c["name"])) - len(designs)
            print(f"{c['name']:24} removes {removed[c['name']]}")

    figures, terms = design_figures(space, costs, designs), compiled(costs)
    for name, (code, _) in terms.items():
        used = [n for n in code.co_names if n in figures]
        print(f"term {name:14} distinct values {len(np.unique(np.stack([figures[n] for n in used]), axis=1).T)}")
    columns, least = scenarios(model, model["seed"])
    print(f"least eigenvalue of the correlations {least:.3f}")
    expected, worst = expected_and_cvar(terms, figures, columns, level)
    on_frontier = frontier(expected, worst)
    print(f"frontier of {len(on_frontier)} designs")
    for i in on_frontier:
        print(f"  E {expected[i] / 1e9:.3f}  CVaR {worst[i] / 1e9:.3f}  {' '.join(space.ids_of(designs[i]).values())}")
    for w in sorted(set(RISK_WEIGHTS + [weight])):
        order = np.argsort(expected + w * worst)
        a, b = order[:2]
        gap = (expected + w * worst)[b] - (expected + w * worst)[a]
        print(f"weight {w:<5} E {expected[a] / 1e9:.3f} CVaR {worst[a] / 1e9:.3f} margin {gap / 1e6:8.1f} M  {' '.join(space.ids_of(designs[a]).values())}")

    chosen = [int(np.argmin(expected)), int(np.argmin(expected + weight * worst))]
    matrices = term_costs(terms, figures, columns, np.array(chosen))
    totals = sum(matrices.values())
    tail = int(round((1 - level) * totals.shape[1]))
    print("billion USD: term, mean of neutral, mean of averse, worst share of neutral, worst share of averse")
    for name, matrix in matrices.items():
        in_tail = [matrix[k][np.argsort(-totals[k], kind="stable")[:tail]].mean() for k in (0, 1)]
        print(f"  {name:16}{matrix[0].mean() / 1e9:8.3f}{matrix[1].mean() / 1e9:8.3f}{in_tail[0] / 1e9:8.3f}{in_tail[1] / 1e9:8.3f}")

    same, margins = [0, 0], [[], []]
    for seed in range(1, given.seeds + 1):
        for k, w in enumerate((0.0, weight)):
            drawn, _ = scenarios(model, seed)
            if k == 0:
                e, c = expected_and_cvar(terms, figures, drawn, level)
            objective = e + w * c
            a, b = np.argsort(objective)[:2]
            same[k] += int(a == chosen[k])
            margins[k].append((objective[b] - objective[a]) / 1e6)
    print(f"same choice in {given.seeds} seeds: neutral {same[0]}, averse {same[1]}; "
          f"least margin to the runner-up {min(margins[0]):.1f} and {min(margins[1]):.1f} million USD")
    if given.write:
        if same != [given.seeds] * 2 or given.no_binding:
            raise SystemExit("not written: a choice depends on the seed, or the binding was not measured")
        out = {"options": sum(map(len, space.ids)), "donors": len(donors), "combinations": raw, "feasible": len(designs),
               "least_mass_kg": int(min_mass(space, designs)), "removed_by": removed,
               "cvar_level": level, "risk_weight": weight,
               "risk_neutral": space.ids_of(designs[chosen[0]]), "risk_averse": space.ids_of(designs[chosen[1]])}
        (HERE / "expected.json").write_text(json.dumps(out, indent=2) + "\n")


def column(space, designs, decision, attribute):
    d = space.names.index(decision)
    return np.array([float(a[attribute]) for a in space.attributes[d]])[designs[:, d]]


def min_mass(space, designs):
    return sum(np.array([int(a["mass_kg"]) for a in o])[designs[:, d]] for d, o in enumerate(space.attributes)).min()


def check_derived(space, designs):
    """Figures in space.yaml that follow from others must be what the rules in its header give."""
    for d, options in enumerate(space.attributes):
        for o, a in enumerate(options):
            place = f"{space.names[d]} {space.ids[d][o]}"
            load = 100 * a.get("seats", 0) + 71 * a.get("tank_m3", 0)
            assert a["takeoff_kg"] == a["mass_kg"] + load, place
            factor = 11850 * np.log(float(a["lift_to_drag"]) / 22.5) if "lift_to_drag" in a else (
                11850 * np.log(float(a["efficiency"]) / 0.4) if "efficiency" in a else None)
            if factor is not None:
                assert abs(-factor - a["fuel_kg"]) <= 5, place
            if a.get("energy_type") == "Hydrogen" and "gravimetric_index" in a:
                tank = 71 * a["tank_m3"] * (1 / float(a["gravimetric_index"]) - 1)
                assert abs(tank - a["mass_kg"]) <= 50, f"{place}: {tank}"
    mass = sum(np.array([float(a["mass_kg"]) for a in o])[designs[:, d]] for d, o in enumerate(space.attributes))
    landing = mass + 100 * column(space, designs, "cabin", "seats")
    work = column(space, designs, "propulsion", "efficiency") * column(space, designs, "wing", "lift_to_drag")
    exact = 1.1 * landing * (np.exp(10_760e3 * 9.80665 / 120e6 / work) - 1)
    straight = (0.113 * landing + column(space, designs, "wing", "fuel_kg") + column(space, designs, "propulsion", "fuel_kg"))
    error = straight - exact
    print(f"FRA-SIN fuel with reserves {exact.min():.0f} to {exact.max():.0f} kg; straight line minus Breguet {error.min():.0f} to {error.max():.0f} kg")
    tank = 71 * column(space, designs, "energy", "tank_m3")
    print(f"designs whose exact fuel exceeds the tank: {(exact > tank).sum()}")


if __name__ == "__main__":
    main()
