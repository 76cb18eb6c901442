//! OpenQASM 3 text that importers agree on.
//!
//! The portable subset: no include, own gates from `U`, `gphase` and `ctrl @`, `input float[64]`, one call
//! per qubit, one measurement of the register. Versions of the language differ in the global phase of
//! `U(theta, ..)`, which would become a relative one under `ctrl @`; so only `U(0, 0, l)` is ever
//! controlled, where all versions agree. Qiskit's importer computes our numbers from this text.
//!
//! [`Dialect::Braket`] is there because Amazon Braket's local simulator (1.41.2) applies `ctrl @` wrongly on
//! some pairs of qubits: on pair 1, 3 of four its own `ctrl @ x` and `cnot` differ. It gets its native gates.

use crate::circuit::{Angle, Circuit, Gate};
use std::fmt::Write;

/// Gates used below, each from primitives.
const GATES: &str = "\
gate h a { U(1.5707963267948966, 0, 3.141592653589793) a; }
gate x a { U(3.141592653589793, 0, 3.141592653589793) a; }
gate ry(t) a { U(t, 0, 0) a; }
gate p(t) a { U(0, 0, t) a; }
gate rx(t) a { U(t, -1.5707963267948966, 1.5707963267948966) a; }
gate rz(t) a { gphase(-t/2); U(0, 0, t) a; }
gate cp(t) a, b { ctrl @ U(0, 0, t) a, b; }
gate cx a, b { h b; cp(3.141592653589793) a, b; h b; }
gate rzz(t) a, b { gphase(-t/2); U(0, 0, t) a; U(0, 0, t) b; cp(-2*t) a, b; }
";

/// Whose gates the text uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Own gates only, as the header of this module says.
    Portable,
    /// The gates that Amazon Braket knows by name (`zz`, `cnot`, `phaseshift`).
    Braket,
}

/// The circuit as text in the portable subset; see [`program_in`].
pub fn program(circuit: &Circuit) -> String {
    program_in(circuit, Dialect::Portable)
}

/// The circuit as text, its inputs as `input float[64]`, measured into `c`; bit i of `c` is qubit i.
pub fn program_in(circuit: &Circuit, dialect: Dialect) -> String {
    let (gates, rzz, cx, phase) = match dialect {
        Dialect::Portable => (GATES, "rzz", "cx", "p"),
        Dialect::Braket => ("", "zz", "cnot", "phaseshift"),
    };
    let mut text = String::from("OPENQASM 3.0;\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = text.write_fmt(line);
        text.push('\n');
    };
    for input in circuit.inputs() {
        line(format_args!("input float[64] {input};"));
    }
    line(format_args!("{gates}qubit[{0}] q;\nbit[{0}] c;", circuit.qubits()));
    for gate in circuit.gates() {
        match *gate {
            Gate::H(q) => line(format_args!("h q[{q}];")),
            Gate::X(q) => line(format_args!("x q[{q}];")),
            Gate::Ry(q, angle) => line(format_args!("ry({}) q[{q}];", expression(circuit, angle))),
            Gate::Phase(q, angle) => line(format_args!("{phase}({}) q[{q}];", expression(circuit, angle))),
            Gate::Rx(q, angle) => line(format_args!("rx({}) q[{q}];", expression(circuit, angle))),
            Gate::Rz(q, angle) => line(format_args!("rz({}) q[{q}];", expression(circuit, angle))),
            Gate::Rzz(a, b, angle) => {
                line(format_args!("{rzz}({}) q[{a}], q[{b}];", expression(circuit, angle)))
            }
            Gate::Cx(a, b) => line(format_args!("{cx} q[{a}], q[{b}];")),
            Gate::GlobalPhase(angle) => line(format_args!("gphase({});", expression(circuit, angle))),
        }
    }
    line(format_args!("c = measure q;"));
    text
}

fn expression(circuit: &Circuit, angle: Angle) -> String {
    // {:?} writes the shortest text that reads back as the same double, always with a point or exponent.
    match angle.input.and_then(|input| circuit.inputs().get(input)) {
        Some(input) => format!("{:?}*{input}", angle.factor),
        None => format!("{:?}", angle.factor),
    }
}
