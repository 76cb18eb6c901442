"""A design space or an .mps file as rows over 0-1 variables, the form that every peer takes.

Rule: solutions and designs correspond one to one, or a count would compare two different things. So an
auxiliary variable (a donor is in use) is fixed by what is chosen, from both sides.
"""

import json
import subprocess
import sys
from fractions import Fraction


class Program:
    """Variables 0 .. n - 1 in {0, 1}; rows are (coefficients by variable, least, most), None for no bound."""

    def __init__(self):
        self.n, self.cost, self.rows = 0, {}, []

    def variable(self, cost=0):
        if cost:
            self.cost[self.n] = cost
        self.n += 1
        return self.n - 1

    def row(self, coefficients, least=None, most=None):
        self.rows.append((coefficients, least, most))


def of_space(path):
    """Whole numbers only, and the rules that the instances use; anything else is an error, not left out."""
    with open(path, encoding="utf-8") as file:
        space = json.load(file)
    program, decisions = Program(), {d["name"]: d["options"] for d in space["decisions"]}
    scored = space["objective"]["minimise"]["sum"]["attribute"]
    chosen = {}
    for name, options in decisions.items():
        for option in options:
            chosen[name, option["id"]] = program.variable(option["attributes"][scored])
        program.row({chosen[name, o["id"]]: 1 for o in options}, 1, 1)
    for rule in space["constraints"]:
        if "allowed" in rule or "forbidden" in rule:
            table = rule.get("allowed") or rule["forbidden"]
            names, tuples = table["decisions"], {tuple(t) for t in table["tuples"]}
            if "forbidden" in rule:
                for t in tuples:
                    program.row({chosen[d, o]: 1 for d, o in zip(names, t)}, None, len(names) - 1)
            elif len(names) == 2:
                for here, there in ((0, 1), (1, 0)):
                    for option in decisions[names[here]]:
                        row = {chosen[names[there], t[there]]: -1 for t in tuples if t[here] == option["id"]}
                        row[chosen[names[here], option["id"]]] = 1
                        program.row(row, None, 0)
            else:
                raise ValueError(f"{rule['name']}: allowed tables of two decisions only")
        elif "sum" in rule:
            attribute = rule["sum"]["attribute"]
            row = {v: next(o for o in decisions[d] if o["id"] == i)["attributes"][attribute] for (d, i), v in chosen.items()}
            if any(Fraction(value).denominator != 1 for value in row.values()):
                raise ValueError(f"{rule['name']}: whole numbers only")
            program.row(row, rule.get("min"), rule.get("max"))
        elif "same" in rule or "distinct" in rule:
            attribute = (rule.get("same") or rule["distinct"])["attribute"]
            groups = {}
            for (d, i), v in chosen.items():
                value = next(o for o in decisions[d] if o["id"] == i)["attributes"].get(attribute)
                if value is not None:
                    groups.setdefault(value, []).append(v)
            if "same" in rule:
                for group in groups.values():
                    program.row({v: 1 for v in group}, None, rule["max"])
                continue
            used = []
            for group in groups.values():
                use = program.variable()
                used.append(use)
                program.row({**{v: -1 for v in group}, use: 1}, None, 0)
                for v in group:
                    program.row({v: 1, use: -1}, None, 0)
            program.row({u: 1 for u in used}, rule.get("min"), rule.get("max"))
        else:
            raise ValueError(f"{rule['name']}: a rule the peers have no rows for")
    return program


def of_mps(path):
    """By HiGHS' reader, for all peers the same."""
    import highspy

    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    if highs.readModel(path) != highspy.HighsStatus.kOk:
        raise ValueError(f"{path} cannot be read")
    lp = highs.getLp()
    program = Program()
    for low, high, cost in zip(lp.col_lower_, lp.col_upper_, lp.col_cost_):
        if (low, high) != (0, 1):
            raise ValueError(f"{path}: 0-1 variables only")
        program.variable(cost)
    by_column = lp.a_matrix_.format_ == highspy.MatrixFormat.kColwise
    rows = [{} for _ in range(lp.num_row_)]
    starts = list(lp.a_matrix_.start_)
    for outer, (start, end) in enumerate(zip(starts, starts[1:])):
        for inner, value in zip(lp.a_matrix_.index_[start:end], lp.a_matrix_.value_[start:end]):
            row, column = (inner, outer) if by_column else (outer, inner)
            rows[row][int(column)] = int(value) if value == int(value) else float(value)
    bound = lambda b: None if abs(b) > 1e29 else (int(b) if b == int(b) else float(b))
    for row, low, high in zip(rows, lp.row_lower_, lp.row_upper_):
        program.row(row, bound(low), bound(high))
    return program


def read(path):
    """HiGHS reads in a process of its own: its library and OR-Tools' do not go together in one."""
    if not path.endswith(".mps"):
        return of_space(path)
    text = subprocess.run([sys.executable, __file__, path], check=True, capture_output=True, text=True).stdout
    read = json.loads(text)
    program = Program()
    program.n = read["n"]
    program.cost = dict(read["cost"])
    program.rows = [(dict(row), least, most) for row, least, most in read["rows"]]
    return program


if __name__ == "__main__":
    done = of_mps(sys.argv[1])
    rows = [(list(row.items()), least, most) for row, least, most in done.rows]
    print(json.dumps({"n": done.n, "cost": list(done.cost.items()), "rows": rows}))
