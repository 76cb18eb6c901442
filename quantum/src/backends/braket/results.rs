//! What Braket writes into `results.json`, as counts of little-endian outcomes; and its dialect of OpenQASM.

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Results {
    /// One list of bits per shot, qubit by qubit in the order of `measured_qubits`.
    measurements: Option<Vec<Vec<u8>>>,
    /// Shares by string of bits, the first one being the first measured qubit.
    measurement_probabilities: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    measured_qubits: Vec<u32>,
}

/// Counts by outcome, bit i being qubit i; `shots` turns shares into counts.
///
/// # Errors
/// What does not fit together.
pub(super) fn counts(bytes: &[u8], shots: u32) -> Result<Vec<(u64, u64)>, String> {
    let results: Results =
        serde_json::from_slice(bytes).map_err(|error| format!("results.json is not read: {error}"))?;
    let width = results.measured_qubits.len();
    if width > 64 {
        return Err(format!("{width} measured qubits, at most 64 are read"));
    }
    let mut sorted = results.measured_qubits.clone();
    sorted.sort_unstable();
    // Where a device names its own physical qubits, the order of the list is that of the register.
    let ours = sorted.iter().enumerate().all(|(i, qubit)| *qubit == i as u32);
    let outcome = |bits: &mut dyn Iterator<Item = u8>| -> Result<u64, String> {
        let (mut outcome, mut seen) = (0u64, 0);
        for (place, bit) in bits.enumerate() {
            if bit > 1 || place >= width {
                return Err(format!("a shot has bit {bit} at place {place} of {width}"));
            }
            let at = if ours { results.measured_qubits[place] } else { place as u32 };
            outcome |= u64::from(bit) << at;
            seen += 1;
        }
        if seen == width { Ok(outcome) } else { Err(format!("a shot has {seen} bits instead of {width}")) }
    };
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    if let Some(rows) = results.measurements.as_ref().filter(|rows| !rows.is_empty()) {
        for row in rows {
            *counts.entry(outcome(&mut row.iter().copied())?).or_default() += 1;
        }
    } else if let Some(shares) = &results.measurement_probabilities {
        for (bits, share) in shares {
            let count = share * f64::from(shots);
            // A share that is no whole number of shots is not one of these shots.
            if !(0.0..=f64::from(shots)).contains(&count) || (count - count.round()).abs() > 1e-3 {
                return Err(format!("share {share} of {shots} shots is no number of shots"));
            }
            if count >= 0.5 {
                *counts.entry(outcome(&mut bits.bytes().map(|b| b.wrapping_sub(b'0')))?).or_default() +=
                    count.round() as u64;
            }
        }
    } else {
        return Err("results.json holds neither measurements nor their shares".to_owned());
    }
    Ok(counts.into_iter().collect())
}

/// Our portable text with the names that Braket knows instead of our own gates. Text that is not ours is
/// left as it is.
pub(super) fn dialect(program: &str) -> String {
    let mut text = String::with_capacity(program.len());
    for line in program.lines().filter(|line| !line.starts_with("gate ")) {
        let renamed = [("rzz(", "zz("), ("cx ", "cnot ")]
            .iter()
            .find_map(|(ours, theirs)| line.strip_prefix(ours).map(|rest| format!("{theirs}{rest}")));
        text.push_str(renamed.as_deref().unwrap_or(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::circuit::Circuit;
    use crate::ising::{Ising, Term};
    use crate::openqasm::{Dialect, program, program_in};

    #[test]
    fn first_bit_is_first_qubit_whether_shots_are_listed_or_shared_out() {
        let listed = br#"{"measurements":[[1,0,0],[1,0,0],[0,1,1]],"measuredQubits":[0,1,2]}"#;
        assert_eq!(counts(listed, 3).unwrap(), [(1, 2), (6, 1)]);
        let shares = br#"{"measurementProbabilities":{"100":0.75,"011":0.25},"measuredQubits":[0,1,2]}"#;
        assert_eq!(counts(shares, 4).unwrap(), [(1, 3), (6, 1)]);
        let turned = br#"{"measurements":[[1,0,0]],"measuredQubits":[2,1,0]}"#;
        assert_eq!(counts(turned, 1).unwrap(), [(4, 1)]);
        let physical = br#"{"measurements":[[1,0]],"measuredQubits":[17,4]}"#;
        assert_eq!(counts(physical, 1).unwrap(), [(1, 1)]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for text in [
            "{}",
            "no",
            r#"{"measurements":[[1,2]],"measuredQubits":[0,1]}"#,
            r#"{"measurements":[[1]],"measuredQubits":[0,1]}"#,
            r#"{"measurements":[[1,0,1]],"measuredQubits":[0,1]}"#,
            r#"{"measurementProbabilities":{"1":0.3},"measuredQubits":[0]}"#,
            r#"{"measurementProbabilities":{"x":1.0},"measuredQubits":[0]}"#,
        ] {
            assert!(counts(text.as_bytes(), 4).is_err(), "{text}");
        }
    }

    #[test]
    fn the_portable_text_becomes_what_the_circuit_writes_for_braket() {
        let terms = [vec![0], vec![0, 1], vec![0, 1, 2]].map(|z| Term { z, coefficient: 0.5 });
        let circuit = Circuit::qaoa(&Ising::new(3, terms.to_vec()).unwrap(), 2);
        let theirs = dialect(&program(&circuit));
        let lines =
            |text: &str| text.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&theirs), lines(&program_in(&circuit, Dialect::Braket)));
    }
}
