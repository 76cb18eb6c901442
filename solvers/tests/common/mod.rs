//! Random design spaces for tests: every kind of rule, negative numbers, decimals, absent attributes.
#![allow(dead_code)]

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use solvers::enumeration::{Checkpoint, Flow, Observer, Progress};
use solvers::space::*;
use std::collections::BTreeMap;

pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    fn decimal(&mut self, low: i64, high: i64) -> Decimal {
        let scale = [0u8, 0, 1, 2][self.below(4) as usize];
        let unit = 10i64.pow(u32::from(scale));
        let span = ((high - low) * unit + 1) as u64;
        Decimal { mantissa: low * unit + self.below(span) as i64, scale }.normalised()
    }
    fn some(&mut self, n: usize, least: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            all.swap(i, self.below(i as u64 + 1) as usize);
        }
        let keep = least + self.below((n - least) as u64 + 1) as usize;
        all.truncate(keep);
        all
    }
}

const NUMBERS: [&str; 3] = ["mass", "noise", "thrust"];

/// A space of at most 1,500 combinations with 2 to 6 rules.
pub fn random_space(seed: u64) -> DesignSpace {
    let mut dice = Dice::new(seed);
    let n = 2 + dice.below(4) as usize;
    let most = [0, 0, 20, 10, 6, 4][n];
    // In some spaces every option states every number.
    let stated = if dice.chance(30) { 100 } else { 85 };
    let decisions: Vec<Decision> = (0..n)
        .map(|d| {
            // Now and then one decision is wider than a machine word.
            let options =
                if n == 2 && d == 1 && dice.chance(15) { 70 } else { 1 + dice.below(most) as usize };
            Decision {
                name: format!("decision-{d}"),
                options: (0..options).map(|o| random_option(&mut dice, o, stated)).collect(),
            }
        })
        .collect();
    let mut space =
        DesignSpace { name: format!("random-{seed}"), decisions, constraints: Vec::new(), objective: None };
    for c in 0..2 + dice.below(5) {
        let rule = random_rule(&mut dice, &space);
        space.constraints.push(Constraint { name: format!("rule-{c}"), rule, line: 0 });
    }
    space.objective = Some(Objective {
        attribute: NUMBERS[dice.below(3) as usize].to_string(),
        maximise: dice.chance(40),
        missing: Some(dice.decimal(-3, 3)),
    });
    space
}

fn random_option(dice: &mut Dice, o: usize, stated: u64) -> DesignOption {
    let mut attributes = BTreeMap::new();
    for name in NUMBERS {
        if dice.chance(stated) {
            attributes.insert(name.to_string(), Attribute::Number(dice.decimal(-4, 9)));
        }
    }
    if dice.chance(85) {
        let value = match dice.below(6) {
            0 => Attribute::Text("2".to_string()),
            1 => Attribute::Flag(true),
            2 => Attribute::Text("maker".to_string()),
            n => Attribute::Number(Decimal { mantissa: 10 * n as i64, scale: 1 }),
        };
        attributes.insert("donor".to_string(), value);
    }
    DesignOption { id: format!("o{o}"), attributes }
}

fn random_range(dice: &mut Dice, low: i64, high: i64) -> Range {
    let (a, b) = (dice.decimal(low, high), dice.decimal(low, high));
    let (a, b) = if a.compare(b).is_le() { (a, b) } else { (b, a) };
    match dice.below(3) {
        0 => Range { min: Some(a), max: None },
        1 => Range { min: None, max: Some(b) },
        _ => Range { min: Some(a), max: Some(b) },
    }
}

fn random_rule(dice: &mut Dice, space: &DesignSpace) -> Rule {
    let n = space.decisions.len();
    let attribute = NUMBERS[dice.below(3) as usize].to_string();
    let decisions = dice.some(n, 1);
    // A stand-in may only be left out where every option states its own number.
    let stated = |&d: &usize| {
        space.decisions[d].options.iter().all(|o| NUMBERS.iter().all(|name| o.attributes.contains_key(*name)))
    };
    let missing = dice.decimal(-2, 5);
    let missing = (!decisions.iter().all(stated) || dice.chance(50)).then_some(missing);
    match dice.below(10) {
        0 | 1 => {
            let mut decisions = dice.some(n, 1);
            decisions.truncate(4);
            let share = 30 + dice.below(65);
            let mut tuples: Vec<Vec<u16>> = vec![Vec::new()];
            for &d in &decisions {
                let options = space.decisions[d].options.len() as u16;
                tuples = tuples
                    .into_iter()
                    .flat_map(|t| (0..options).map(move |o| [t.clone(), vec![o]].concat()))
                    .collect();
            }
            tuples.retain(|_| dice.chance(share));
            if dice.chance(50) {
                tuples.reverse();
            }
            if dice.chance(50) {
                Rule::Allowed { decisions, tuples }
            } else {
                let keep = 1 + tuples.len() / 3;
                tuples.truncate(keep);
                Rule::Forbidden { decisions, tuples }
            }
        }
        2 => Rule::Sum { attribute, decisions, missing, range: random_range(dice, -6, 20) },
        3 => {
            let test = if dice.chance(60) {
                EachTest::Within(random_range(dice, -4, 9))
            } else {
                EachTest::Equals(match dice.below(4) {
                    0 => Attribute::Text("maker".to_string()),
                    1 => Attribute::Flag(true),
                    _ => Attribute::Number(Decimal::whole(3)),
                })
            };
            let attribute = if matches!(test, EachTest::Equals(_)) { "donor".to_string() } else { attribute };
            let mut decisions = decisions;
            decisions.truncate(1 + dice.below(2) as usize);
            Rule::Each { attribute, decisions, test, missing_ignored: dice.chance(50) }
        }
        4 => Rule::Same { attribute: "donor".into(), decisions, max: dice.below(3) as u32 },
        5 => {
            let (a, b) = (dice.below(3) as u32, 1 + dice.below(4) as u32);
            let (min, max) = (a.min(b), a.max(b));
            let min = dice.chance(60).then_some(min);
            let max = (min.is_none() || dice.chance(60)).then_some(max);
            Rule::Distinct { attribute: "donor".into(), decisions, min, max }
        }
        6 | 7 => {
            let terms = (0..1 + dice.below(3) as usize)
                .map(|t| LinearTerm { attribute: NUMBERS[t].into(), times: dice.decimal(-3, 3), missing })
                .collect();
            Rule::Linear { terms, decisions, range: random_range(dice, -20, 30) }
        }
        8 => Rule::Ratio {
            of: attribute,
            over: NUMBERS[dice.below(3) as usize].to_string(),
            decisions,
            missing,
            range: random_range(dice, -2, 4),
        },
        _ => {
            let decision = dice.below(n as u64) as usize;
            let then_decision = dice.below(n as u64) as usize;
            let pick = |dice: &mut Dice, d: usize| -> Vec<u16> {
                dice.some(space.decisions[d].options.len(), 1).into_iter().map(|o| o as u16).collect()
            };
            let when = pick(dice, decision);
            let then = pick(dice, then_decision);
            Rule::Implies { decision, when, then_decision, then }
        }
    }
}

/// The objective of one design by plain 128-bit arithmetic.
pub fn objective_value(space: &DesignSpace, design: &[u16]) -> Option<Decimal> {
    let objective = space.objective.as_ref()?;
    let mut sum = 0i64;
    for (decision, &o) in space.decisions.iter().zip(design) {
        let number = match decision.options[usize::from(o)].attributes.get(&objective.attribute) {
            Some(Attribute::Number(n)) => *n,
            None => objective.missing?,
            _ => return None,
        };
        sum += number.scaled(6)?;
    }
    Some(Decimal { mantissa: sum, scale: 6 }.normalised())
}

/// Takes a checkpoint after every unit.
#[derive(Default)]
pub struct Collect(pub Vec<Checkpoint>);
impl Observer for Collect {
    fn progress(&mut self, _: &Progress) -> Flow {
        Flow::Continue
    }
    fn wants_checkpoint(&mut self) -> bool {
        true
    }
    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.0.push(checkpoint);
    }
}
