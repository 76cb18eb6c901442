//! What may be asked of a space and of one design: JSON, positions by name, digest.
//!
//! Rule: a digest depends on meaning and order, not on the spelling of the file: 1.0 and 1 are the same.

use super::{Attribute, Decimal, Design, DesignSpace, EachTest, Range, Rule};
use serde_json::{Map, Value};

/// Why a JSON value is no design of a space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesignError {
    #[error("expected an object from decision to option id")]
    NotAnObject,
    #[error("no option is chosen for decision `{decision}`")]
    NotChosen { decision: String },
    #[error("decision `{decision}` has no option `{option}`")]
    UnknownOption { decision: String, option: String },
    #[error("there is no decision `{decision}`")]
    UnknownDecision { decision: String },
}

impl DesignSpace {
    /// Position of the decision called `name`.
    pub fn decision_index(&self, name: &str) -> Option<usize> {
        self.decisions.iter().position(|d| d.name == name)
    }

    /// Number of combinations without any rule; `None` above 128 bits.
    pub fn combinations(&self) -> Option<u128> {
        self.decisions.iter().try_fold(1u128, |n, d| n.checked_mul(d.options.len() as u128))
    }

    /// `design` as an object from decision to option id. Positions outside the space are left out.
    pub fn design_json(&self, design: &[u16]) -> Value {
        let mut object = Map::new();
        for (decision, &position) in self.decisions.iter().zip(design) {
            if let Some(option) = decision.options.get(usize::from(position)) {
                object.insert(decision.name.clone(), Value::String(option.id.clone()));
            }
        }
        Value::Object(object)
    }

    /// The design that an object from decision to option id names.
    ///
    /// # Errors
    /// [`DesignError`]: not an object, a decision without choice, an unknown name.
    pub fn design_from_json(&self, value: &Value) -> Result<Design, DesignError> {
        let object = value.as_object().ok_or(DesignError::NotAnObject)?;
        if let Some(name) = object.keys().find(|k| self.decision_index(k).is_none()) {
            return Err(DesignError::UnknownDecision { decision: name.clone() });
        }
        let mut design = Vec::with_capacity(self.decisions.len());
        for decision in &self.decisions {
            let chosen = object
                .get(&decision.name)
                .ok_or_else(|| DesignError::NotChosen { decision: decision.name.clone() })?;
            let id = match chosen {
                Value::String(id) => id.clone(),
                other => other.to_string(),
            };
            let at = decision.options.iter().zip(0u16..).find(|(o, _)| o.id == id);
            let (_, position) =
                at.ok_or_else(|| DesignError::UnknownOption { decision: decision.name.clone(), option: id })?;
            design.push(position);
        }
        Ok(design)
    }

    /// blake3 of the space's meaning: name, decisions, options, attributes, rules, objective, in order.
    ///
    /// Every string goes in with its length before it, every number as its shortest exact decimal, so
    /// two spaces have the same digest only if they say the same. Lines of the file do not count.
    pub fn digest(&self) -> blake3::Hash {
        let mut h = Hasher(blake3::Hasher::new());
        h.text("design_space 1");
        h.text(&self.name);
        h.count(self.decisions.len());
        for decision in &self.decisions {
            h.text(&decision.name);
            h.count(decision.options.len());
            for option in &decision.options {
                h.text(&option.id);
                h.count(option.attributes.len());
                for (name, value) in &option.attributes {
                    h.text(name);
                    h.attribute(value);
                }
            }
        }
        h.count(self.constraints.len());
        for constraint in &self.constraints {
            h.text(&constraint.name);
            h.rule(&constraint.rule);
        }
        match &self.objective {
            None => h.text("no objective"),
            Some(o) => {
                h.text(if o.maximise { "maximise" } else { "minimise" });
                h.text(&o.attribute);
                h.number(o.missing);
            }
        }
        h.0.finalize()
    }
}

struct Hasher(blake3::Hasher);

impl Hasher {
    fn count(&mut self, n: usize) {
        self.0.update(&(n as u64).to_le_bytes());
    }
    fn text(&mut self, s: &str) {
        self.count(s.len());
        self.0.update(s.as_bytes());
    }
    fn number(&mut self, n: Option<Decimal>) {
        match n {
            None => self.text("-"),
            Some(n) => self.text(&n.to_string()),
        }
    }
    fn range(&mut self, range: &Range) {
        self.number(range.min);
        self.number(range.max);
    }
    fn attribute(&mut self, value: &Attribute) {
        match value {
            Attribute::Number(n) => {
                self.text("number");
                self.number(Some(*n));
            }
            Attribute::Text(s) => {
                self.text("text");
                self.text(s);
            }
            Attribute::Flag(b) => self.text(if *b { "true" } else { "false" }),
        }
    }
    fn positions(&mut self, all: &[usize]) {
        self.count(all.len());
        all.iter().for_each(|&n| self.count(n));
    }
    fn options(&mut self, all: &[u16]) {
        self.count(all.len());
        all.iter().for_each(|&n| self.count(usize::from(n)));
    }
    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Allowed { decisions, tuples } | Rule::Forbidden { decisions, tuples } => {
                self.text(if matches!(rule, Rule::Allowed { .. }) { "allowed" } else { "forbidden" });
                self.positions(decisions);
                self.count(tuples.len());
                tuples.iter().for_each(|t| self.options(t));
            }
            Rule::Sum { attribute, decisions, missing, range } => {
                self.text("sum");
                self.text(attribute);
                self.positions(decisions);
                self.number(*missing);
                self.range(range);
            }
            Rule::Each { attribute, decisions, test, missing_ignored } => {
                self.text(if *missing_ignored { "each, missing ignored" } else { "each" });
                self.text(attribute);
                self.positions(decisions);
                match test {
                    EachTest::Within(range) => self.range(range),
                    EachTest::Equals(value) => {
                        self.text("equals");
                        self.attribute(value);
                    }
                }
            }
            Rule::Same { attribute, decisions, max } => {
                self.text("same");
                self.text(attribute);
                self.positions(decisions);
                self.count(*max as usize);
            }
            Rule::Distinct { attribute, decisions, min, max } => {
                self.text("distinct");
                self.text(attribute);
                self.positions(decisions);
                for bound in [min, max] {
                    self.number(bound.map(|b| Decimal::whole(i64::from(b))));
                }
            }
            Rule::Linear { terms, decisions, range } => {
                self.text("linear");
                self.positions(decisions);
                self.count(terms.len());
                for term in terms {
                    self.text(&term.attribute);
                    self.number(Some(term.times));
                    self.number(term.missing);
                }
                self.range(range);
            }
            Rule::Ratio { of, over, decisions, missing, range } => {
                self.text("ratio");
                self.text(of);
                self.text(over);
                self.positions(decisions);
                self.number(*missing);
                self.range(range);
            }
            Rule::Implies { decision, when, then_decision, then } => {
                self.text("if");
                self.positions(&[*decision, *then_decision]);
                self.options(when);
                self.options(then);
            }
        }
    }
}
