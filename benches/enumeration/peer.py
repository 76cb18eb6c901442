"""One peer on one instance: `peer.py cp-sat|highs|gurobi|scip count|best FILE SECONDS`, one JSON line.

`seconds` is the solver's time without reading and building; `finished` says that nothing is missing.
"""

import json
import sys
import time

import program as programs

BEST = 100


def cp_sat(program, best, seconds):
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    x = [model.new_bool_var(f"x{i}") for i in range(program.n)]
    for coefficients, least, most in program.rows:
        total = sum(c * x[v] for v, c in coefficients.items())
        low = cp_model.INT_MIN if least is None else least
        model.add_linear_constraint(total, low, cp_model.INT_MAX if most is None else most)

    class Counter(cp_model.CpSolverSolutionCallback):
        found = 0

        def on_solution_callback(self):
            self.found += 1

    if best:
        return None
    solver, counter = cp_model.CpSolver(), Counter()
    solver.parameters.enumerate_all_solutions = True
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    started = time.perf_counter()
    status = solver.solve(model, counter)
    done = status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
    return {"found": counter.found, "finished": done, "seconds": time.perf_counter() - started}


def highs(program, best, seconds):
    """Solve, cut the solution off, solve again."""
    import highspy

    inf = highspy.kHighsInf
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    for v in range(program.n):
        solver.addCol(float(program.cost.get(v, 0)) if best else 0.0, 0.0, 1.0, 0, [], [])
        solver.changeColIntegrality(v, highspy.HighsVarType.kInteger)
    for coefficients, least, most in program.rows:
        keys = list(coefficients)
        low, high = -inf if least is None else float(least), inf if most is None else float(most)
        solver.addRow(low, high, len(keys), keys, [float(coefficients[k]) for k in keys])
    started, found, finished, total = time.perf_counter(), 0, False, 0
    while time.perf_counter() - started < seconds and not (best and found == BEST):
        left = seconds - (time.perf_counter() - started)
        solver.setOptionValue("time_limit", solver.getRunTime() + max(left, 0.01))
        solver.run()
        status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            finished = True
            break
        if status != highspy.HighsModelStatus.kOptimal:
            break
        ones = [v for v, value in enumerate(solver.getSolution().col_value) if value > 0.5]
        found += 1
        total += sum(program.cost.get(v, 0) for v in ones)
        chosen = set(ones)
        row = [-1.0 if v in chosen else 1.0 for v in range(program.n)]
        solver.addRow(1.0 - len(ones), inf, program.n, list(range(program.n)), row)
    finished = finished or (best and found == BEST)
    return {"found": found, "finished": finished, "seconds": time.perf_counter() - started, "sum": total}


def gurobi(program, best, seconds):
    """The solution pool; the licence that comes with the package takes 2,000 variables and rows."""
    import gurobipy as gp

    env = gp.Env(params={"OutputFlag": 0, "Threads": 1})
    model = gp.Model(env=env)
    x = model.addVars(program.n, vtype="B")
    for coefficients, least, most in program.rows:
        total = gp.quicksum(c * x[v] for v, c in coefficients.items())
        if least is not None and least == most:
            model.addConstr(total == least)
            continue
        if least is not None:
            model.addConstr(total >= least)
        if most is not None:
            model.addConstr(total <= most)
    if best:
        model.setObjective(gp.quicksum(c * x[v] for v, c in program.cost.items()))
    model.params.PoolSearchMode = 2
    model.params.PoolSolutions = BEST if best else 20_000_000
    model.params.TimeLimit = seconds
    started = time.perf_counter()
    model.optimize()
    elapsed, found = time.perf_counter() - started, model.SolCount
    total = 0
    if best:
        for solution in range(found):
            model.params.SolutionNumber = solution
            total += round(model.PoolObjVal)
    done = model.Status in (gp.GRB.OPTIMAL, gp.GRB.INFEASIBLE)
    return {"found": found, "finished": done, "seconds": elapsed, "sum": total}


def scip(program, best, seconds):
    """SCIP's own counter of feasible points."""
    import pyscipopt

    if best:
        return None
    model = pyscipopt.Model()
    model.hideOutput()
    model.setEmphasis(pyscipopt.SCIP_PARAMEMPHASIS.COUNTER)
    model.setParam("limits/time", seconds)
    x = [model.addVar(vtype="B") for _ in range(program.n)]
    for coefficients, least, most in program.rows:
        total = pyscipopt.quicksum(c * x[v] for v, c in coefficients.items())
        if least is not None:
            model.addCons(total >= least)
        if most is not None:
            model.addCons(total <= most)
    started = time.perf_counter()
    model.count()
    elapsed = time.perf_counter() - started
    done = model.getStatus() in ("optimal", "infeasible")
    return {"found": model.getNCountedSols() if hasattr(model, "getNCountedSols") else None, "finished": done, "seconds": elapsed}


PEERS = {"cp-sat": cp_sat, "highs": highs, "gurobi": gurobi, "scip": scip}

if __name__ == "__main__":
    name, mode, path, limit = sys.argv[1:]
    print(json.dumps(PEERS[name](programs.read(path), mode == "best", float(limit))))
