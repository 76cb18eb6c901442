//! The scenarios themselves, column by column.

use serde::{Deserialize, Serialize};

/// One uncertain quantity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub name: String,
    /// Unit such as `USD/kg`; absent where the file states none.
    pub unit: Option<String>,
}

/// Joint realisations of the variables with their probabilities.
///
/// Holds: every figure finite, every probability in `[0, 1]`, their sum 1 within 1e-9, at least one
/// scenario and one variable.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioSet {
    pub variables: Vec<Variable>,
    /// Figure of variable `v` in scenario `s` at `v * len() + s`.
    pub values: Vec<f64>,
    pub probability: Vec<f64>,
}

impl ScenarioSet {
    /// Number of scenarios.
    pub fn len(&self) -> usize {
        self.probability.len()
    }

    pub fn is_empty(&self) -> bool {
        self.probability.is_empty()
    }

    /// All figures of one variable, in the order of the scenarios.
    pub fn column(&self, variable: usize) -> &[f64] {
        let n = self.len();
        &self.values[variable * n..(variable + 1) * n]
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|v| v.name == name)
    }

    /// BLAKE3 over names, units, figures and probabilities: equal digests mean equal scenarios.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"scenario set 1\n");
        hasher.update(&(self.len() as u64).to_le_bytes());
        for variable in &self.variables {
            for text in [Some(variable.name.as_str()), variable.unit.as_deref()] {
                let text = text.map_or(&[] as &[u8], str::as_bytes);
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text);
            }
        }
        for figure in self.values.iter().chain(&self.probability) {
            hasher.update(&figure.to_bits().to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The set as CSV: a column per variable and `probability`, digits enough to read the same set back.
    pub fn to_csv(&self) -> String {
        let mut text: String = self.variables.iter().map(|v| format!("{},", v.name)).collect();
        text.push_str("probability\n");
        for s in 0..self.len() {
            for v in 0..self.variables.len() {
                text.push_str(&format!("{},", self.column(v)[s]));
            }
            text.push_str(&format!("{}\n", self.probability[s]));
        }
        text
    }
}
