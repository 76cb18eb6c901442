//! Quantum approximate optimisation: problem files, exact simulation, angle search, circuits, and the
//! words in which the runtime speaks to backends.
//!
//! Rule: everything outside [`backends`] is pure. The same input and seed give the same bits, because every
//! sum has a fixed order, the sines of a state are our own, and random numbers are counted, not drawn from a
//! shared state. Threads only come from the caller ([`threads::Threads`]): passes over a state are cut into the
//! same parts and summed in the same order for any number of them. Absent on purpose: files, clocks, the
//! journal, CVaR over scenarios (that is another room's; the `elite_fraction` here averages shots, not costs
//! of scenarios).
//! Start at [`problem::Problem`] for a fixed set of angles, at [`qaoa::Optimiser`] to find angles.

pub mod backends;
pub mod breaker;
pub mod circuit;
pub mod index_encoding;
pub mod ising;
pub mod noise;
pub mod openqasm;
pub mod phase;
pub mod problem;
pub mod qaoa;
pub mod qubo;
pub mod simulator;
pub mod state;
pub mod threads;
mod wide;

/// Every error code of this crate with its explanation: what went wrong and what to do.
pub const CODES: &[(&str, &str)] = &[
    (
        "EX-0450",
        "The QAOA problem file is not JSON. The line and column say where reading stopped; mend the file there.",
    ),
    (
        "EX-0451",
        "A number is NaN, infinite or too large for a double. Coefficients, costs and angles must be finite; look for a division by zero in whatever wrote the file.",
    ),
    (
        "EX-0452",
        "The QAOA problem file has a key that this version does not know. Remove it or correct its spelling; nothing is silently ignored.",
    ),
    (
        "EX-0453",
        "A value of the QAOA problem file is missing, given twice, or of the wrong type. The message names what was expected.",
    ),
    ("EX-0454", "The QAOA problem file is of another version. This program reads `\"qaoa_problem\": 1`."),
    ("EX-0455", "`cost_angles` and `mixer_angles` differ in length. Each layer has one of each."),
    (
        "EX-0456",
        "`cost` must hold exactly one of `ising` (a list of terms) and `values` (one cost per design).",
    ),
    ("EX-0457", "An Ising term names a qubit that does not exist. Qubits count from 0 to `qubits` - 1."),
    ("EX-0458", "An Ising term names the same qubit twice. z times z is 1: drop both mentions."),
    (
        "EX-0459",
        "`qubits` is missing. It is needed for an `ising` cost and for the mixer `x`; only the mixer `grover` over `values` works without.",
    ),
    (
        "EX-0460",
        "The number of qubits is zero or its state does not fit the memory limit `STATE_BYTES_MAX`. Each qubit doubles the state; list the feasible set and use `values` with the mixer `grover` instead.",
    ),
    ("EX-0461", "`values` is empty: there is no design to choose from."),
    (
        "EX-0462",
        "The number of `values` is not 2 to the power of `qubits`. Give one cost per basis state, or leave `qubits` out and use the mixer `grover`.",
    ),
    (
        "EX-0463",
        "More layers than `LAYERS_MAX`. A circuit that deep is a mistake of the generator, or needs the limit raised on purpose.",
    ),
    (
        "EX-0464",
        "A cost angle times the largest cost is so large that a double no longer resolves the phase. Scale the costs or the angle down.",
    ),
    (
        "EX-0470",
        "A setting of the angle search is outside its range. The message names the setting and the range.",
    ),
    (
        "EX-0471",
        "The angle search was given no designs. Enumerate the feasible set first; an empty set has no optimum.",
    ),
    (
        "EX-0472",
        "A design's cost is NaN or infinite. Mend the cost model; the message names the design's index.",
    ),
    (
        "EX-0473",
        "A checkpoint of the angle search cannot be read. It is damaged or of another version: start the stage again from the beginning.",
    ),
    (
        "EX-0474",
        "A checkpoint of the angle search belongs to other costs or other settings. Give it the inputs it was written with, or start again.",
    ),
    (
        "EX-0494",
        "Designs do not make groups of choices for one-hot mixers: none, too many for the memory limit, with a choice that does not exist, or one listed twice. The message names the first; mend the list, or use the mixer `grover`.",
    ),
    (
        "EX-0495",
        "A problem has no quadratic form over bits: no choice, a choice that does not exist, a number that is not finite or too large, a row that never holds, or too many bits. The message names the place; list the feasible designs instead where the form is too large.",
    ),
];

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_unique_sorted_and_in_this_crates_range() {
        for pair in CODES.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
        for (code, text) in CODES {
            let ours = ("EX-0450".."EX-0480").contains(code) || ("EX-0494".."EX-0496").contains(code);
            assert!(ours, "{code}");
            assert!(text.ends_with('.') && text.len() > 40, "{code} explains too little");
        }
    }
}
