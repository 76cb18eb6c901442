//! Constraints in words, for people who must decide which one to give up.

use crate::space::{Attribute, Constraint, DesignSpace, EachTest, Range, Rule};

fn names(space: &DesignSpace, decisions: &[usize]) -> String {
    if decisions.len() == space.decisions.len() && decisions.len() > 1 {
        return "all decisions".to_string();
    }
    decisions.iter().map(|&d| space.decisions[d].name.as_str()).collect::<Vec<_>>().join(", ")
}

fn range(range: &Range) -> String {
    match (range.min, range.max) {
        (Some(min), Some(max)) => format!("between {min} and {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "anything".to_string(),
    }
}

fn options(space: &DesignSpace, decision: usize, chosen: &[u16]) -> String {
    let options = &space.decisions[decision].options;
    let id = |o: &u16| options.get(usize::from(*o)).map_or("?", |option| option.id.as_str());
    match chosen.len() {
        0 => "nothing".to_string(),
        _ => chosen.iter().map(id).collect::<Vec<_>>().join(" or "),
    }
}

/// One sentence: the name of the constraint and what it asks.
pub fn describe(space: &DesignSpace, constraint: &Constraint) -> String {
    let what = match &constraint.rule {
        Rule::Allowed { decisions, tuples } => {
            format!("only {} combinations of {} are allowed", tuples.len(), names(space, decisions))
        }
        Rule::Forbidden { decisions, tuples } => {
            format!("{} combinations of {} are forbidden", tuples.len(), names(space, decisions))
        }
        Rule::Sum { attribute, decisions, range: r, .. } => {
            format!("the sum of `{attribute}` over {} is {}", names(space, decisions), range(r))
        }
        Rule::Each { attribute, decisions, test, .. } => {
            let test = match test {
                EachTest::Within(r) => range(r),
                EachTest::Equals(Attribute::Number(n)) => n.to_string(),
                EachTest::Equals(Attribute::Text(s)) => s.clone(),
                EachTest::Equals(Attribute::Flag(b)) => b.to_string(),
            };
            format!("`{attribute}` of each of {} is {test}", names(space, decisions))
        }
        Rule::Same { attribute, decisions, max } => {
            format!("no value of `{attribute}` stands more than {max} times in {}", names(space, decisions))
        }
        Rule::Distinct { attribute, decisions, min, max } => {
            let count = match (min, max) {
                (Some(min), Some(max)) => format!("between {min} and {max}"),
                (Some(min), None) => format!("at least {min}"),
                (None, Some(max)) => format!("at most {max}"),
                (None, None) => "any number of".to_string(),
            };
            format!("{} have {count} different values of `{attribute}`", names(space, decisions))
        }
        Rule::Linear { terms, decisions, range: r } => {
            let terms: Vec<String> =
                terms.iter().map(|t| format!("{} x `{}`", t.times, t.attribute)).collect();
            format!("the sum of {} over {} is {}", terms.join(" + "), names(space, decisions), range(r))
        }
        Rule::Ratio { of, over, decisions, range: r, .. } => {
            format!("`{of}` over `{over}`, summed over {}, is {}", names(space, decisions), range(r))
        }
        Rule::Implies { decision, when, then_decision, then } => format!(
            "if {} is {}, then {} is {}",
            space.decisions[*decision].name,
            options(space, *decision, when),
            space.decisions[*then_decision].name,
            options(space, *then_decision, then)
        ),
    };
    format!("{}: {what}", constraint.name)
}
