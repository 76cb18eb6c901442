//! A formula, compiled once, evaluated for all scenarios at a time.
//!
//! The expression language is exmex's; its value type here is a whole column of figures, so that one
//! pass through the expression does every scenario and the inner loops are plain loops over numbers.

use super::spread::Spread;
use super::units::Dimension;
use super::{FORMULA_BYTES_MAX, FORMULA_DEPTH_MAX};
use exmex::{BinOp, Express, FlatEx, MakeOperators, MatchLiteral, Operator};
use std::str::FromStr;
use std::sync::Arc;

/// One figure, or one per scenario.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    Same(f64),
    Shared(Arc<[f64]>),
    Own(Vec<f64>),
}

impl Default for Column {
    fn default() -> Self {
        Column::Same(0.0)
    }
}

impl FromStr for Column {
    type Err = std::num::ParseFloatError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Column::Same)
    }
}

impl Column {
    pub(super) fn map(self, f: impl Fn(f64) -> f64) -> Column {
        match self {
            Column::Same(x) => Column::Same(f(x)),
            Column::Shared(column) => Column::Own(column.iter().map(|&x| f(x)).collect()),
            Column::Own(mut column) => {
                for x in &mut column {
                    *x = f(*x);
                }
                Column::Own(column)
            }
        }
    }

    pub(super) fn zip(self, other: Column, f: impl Fn(f64, f64) -> f64) -> Column {
        match (self, other) {
            (Column::Same(a), b) => b.map(|b| f(a, b)),
            (a, Column::Same(b)) => a.map(|a| f(a, b)),
            (Column::Own(mut a), b) => {
                for (a, &b) in a.iter_mut().zip(b.figures()) {
                    *a = f(*a, b);
                }
                Column::Own(a)
            }
            (a, Column::Own(mut b)) => {
                for (&a, b) in a.figures().iter().zip(b.iter_mut()) {
                    *b = f(a, *b);
                }
                Column::Own(b)
            }
            (a, b) => Column::Own(a.figures().iter().zip(b.figures()).map(|(&a, &b)| f(a, b)).collect()),
        }
    }

    /// One figure for all scenarios, or one each.
    pub(super) fn figures(&self) -> &[f64] {
        match self {
            Column::Same(x) => std::slice::from_ref(x),
            Column::Shared(column) => column,
            Column::Own(column) => column,
        }
    }
}

/// Numbers such as `12`, `1.5`, `.5`, `1e6`, `2.5E-3`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Numbers;

impl MatchLiteral for Numbers {
    fn is_literal(text: &str) -> Option<&str> {
        let bytes = text.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let whole = digits(0);
        let mut end = whole;
        let mut fraction = 0;
        if bytes.get(end) == Some(&b'.') {
            fraction = digits(end + 1);
            end += 1 + fraction;
        }
        if whole + fraction == 0 {
            return None;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if end + 1 + sign < bytes.len() {
                let exponent = digits(end + 1 + sign);
                if exponent > 0 {
                    end += 1 + sign + exponent;
                }
            }
        }
        Some(&text[..end])
    }
}

macro_rules! operators {
    ($factory:ident, $value:ty, $two:expr, $one:expr) => {
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $factory;
        impl MakeOperators<$value> for $factory {
            fn make<'a>() -> Vec<Operator<'a, $value>> {
                let two: [fn($value, $value) -> $value; 7] = $two;
                let one: [fn($value) -> $value; 9] = $one;
                let binary = |apply, prio| BinOp {
                    apply,
                    prio,
                    // Reordering would change the last digit; the result must not depend on it.
                    is_commutative: false,
                };
                vec![
                    Operator::make_bin_unary("+", binary(two[0], 1), one[0]),
                    Operator::make_bin_unary("-", binary(two[1], 1), one[1]),
                    Operator::make_bin("*", binary(two[2], 2)),
                    Operator::make_bin("/", binary(two[3], 2)),
                    Operator::make_bin("^", binary(two[4], 3)),
                    Operator::make_bin("min", binary(two[5], 0)),
                    Operator::make_bin("max", binary(two[6], 0)),
                    Operator::make_unary("abs", one[2]),
                    Operator::make_unary("sqrt", one[3]),
                    Operator::make_unary("exp", one[4]),
                    Operator::make_unary("ln", one[5]),
                    Operator::make_unary("log10", one[6]),
                    Operator::make_unary("floor", one[7]),
                    Operator::make_unary("ceil", one[8]),
                ]
            }
        }
    };
}

operators!(
    ColumnOperators,
    Column,
    [
        |a, b| a.zip(b, |x, y| x + y),
        |a, b| a.zip(b, |x, y| x - y),
        |a, b| a.zip(b, |x, y| x * y),
        |a, b| a.zip(b, |x, y| x / y),
        |a, b| a.zip(b, f64::powf),
        // f64::min would let the other side win over NaN and so hide it.
        |a, b| a.zip(b, |x, y| if x.is_nan() || x < y { x } else { y }),
        |a, b| a.zip(b, |x, y| if x.is_nan() || x > y { x } else { y }),
    ],
    [
        |a| a,
        |a| a.map(|x| -x),
        |a| a.map(f64::abs),
        |a| a.map(f64::sqrt),
        |a| a.map(f64::exp),
        |a| a.map(f64::ln),
        |a| a.map(f64::log10),
        |a| a.map(f64::floor),
        |a| a.map(f64::ceil),
    ]
);

operators!(
    UnitOperators,
    Dimension,
    [
        |a, b| a.alike(b, "+"),
        |a, b| a.alike(b, "-"),
        |a, b| a.times(b, 1),
        |a, b| a.times(b, -1),
        |a, b| a.power(b),
        |a, b| a.alike(b, "min"),
        |a, b| a.alike(b, "max"),
    ],
    [
        |a| a,
        |a| a,
        |a| a,
        |a| a.transformed(),
        |a| a.transformed(),
        |a| a.transformed(),
        |a| a.transformed(),
        |a| a,
        |a| a,
    ]
);

// The same operations as those of the columns, in the same order.
operators!(
    SpreadOperators,
    Spread,
    [
        |a, b| a.plus(b, 1.0),
        |a, b| a.plus(b, -1.0),
        |a, b| a.times(b, |x, y| x * y),
        |a, b| a.over(b),
        |a, b| a.joined(b, f64::powf, "a power"),
        |a, b| a.joined(b, |x, y| if x.is_nan() || x < y { x } else { y }, "`min`"),
        |a, b| a.joined(b, |x, y| if x.is_nan() || x > y { x } else { y }, "`max`"),
    ],
    [
        |a| a,
        |a| a.scaled(-1.0),
        |a| a.through(f64::abs, "`abs`"),
        |a| a.through(f64::sqrt, "`sqrt`"),
        |a| a.through(f64::exp, "`exp`"),
        |a| a.through(f64::ln, "`ln`"),
        |a| a.through(f64::log10, "`log10`"),
        |a| a.through(f64::floor, "`floor`"),
        |a| a.through(f64::ceil, "`ceil`"),
    ]
);

type Compiled = FlatEx<Column, ColumnOperators, Numbers>;
type UnitCompiled = FlatEx<Dimension, UnitOperators, Numbers>;
type SpreadCompiled = FlatEx<Spread, SpreadOperators, Numbers>;

/// A compiled formula with the names it uses.
#[derive(Debug, Clone)]
pub(crate) struct Formula {
    text: String,
    compiled: Compiled,
}

impl Formula {
    /// Compiles `text`, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Formula, String> {
        if text.trim().is_empty() {
            return Err("the formula is empty".into());
        }
        if text.len() > FORMULA_BYTES_MAX {
            return Err(format!("the formula has {} bytes, the limit is {FORMULA_BYTES_MAX}", text.len()));
        }
        if let Some(odd) =
            text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_+-*/^()., \t\n".contains(*c))
        {
            return Err(format!("`{odd}` has no meaning in a formula"));
        }
        let mut depth = 0i64;
        for c in text.chars() {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            if depth < 0 {
                return Err("a bracket is closed that was not opened".into());
            }
            if depth > FORMULA_DEPTH_MAX as i64 {
                return Err(format!("more than {FORMULA_DEPTH_MAX} brackets inside each other"));
            }
        }
        if depth > 0 {
            return Err("a bracket is not closed".into());
        }
        let flat: String = text.chars().map(|c| if c.is_ascii_whitespace() { ' ' } else { c }).collect();
        let compiled = Compiled::parse(&flat).map_err(|e| e.to_string())?;
        Ok(Formula { text: flat, compiled })
    }

    /// Names in alphabetical order; [`Formula::evaluate`] takes their values in this order.
    pub fn names(&self) -> &[String] {
        self.compiled.var_names()
    }

    pub fn evaluate(&self, values: &[Column]) -> Result<Column, String> {
        self.compiled.eval(values).map_err(|e| e.to_string())
    }

    /// The result by decision and option, from the names' figures by decision and option.
    pub fn spread(&self, names: &[Spread]) -> Result<Spread, String> {
        let compiled = SpreadCompiled::parse(&self.text).map_err(|e| e.to_string())?;
        compiled.eval(names).map_err(|e| e.to_string())
    }

    /// The unit of the result, from the units of the names.
    pub fn dimension(&self, names: &[Dimension]) -> Result<Dimension, String> {
        let compiled = UnitCompiled::parse(&self.text).map_err(|e| e.to_string())?;
        compiled.eval(names).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> f64 {
        match Formula::parse(text).unwrap().evaluate(&[]).unwrap() {
            Column::Same(x) => x,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn formulas_follow_the_rules_of_arithmetic() {
        for (text, expected) in [
            ("1e6 * 2", 2e6),
            ("2.5E-3+.5", 0.5025),
            ("2 + 3 * 4", 14.0),
            ("2 * 6 / 4", 3.0),
            ("12 / 2 / 3", 2.0),
            ("12 / 2 * 3", 18.0),
            ("10 - 2 - 3", 5.0),
            ("10 - 2 + 3", 11.0),
            ("2 * 3 ^ 2", 18.0),
            ("(1 + 2) * -3", -9.0),
            ("-2 ^ 2", 4.0),
            ("max(1, 2) + min(3, 4) * 2", 8.0),
            ("max(1 + 2, 2 * 4)", 8.0),
            ("sqrt(16) + abs(-2) + floor(1.7) + ceil(1.2)", 9.0),
            ("exp(0) + ln(1) + log10(1000)", 4.0),
        ] {
            assert!((value(text) - expected).abs() < 1e-12, "{text}: {}", value(text));
        }
    }

    #[test]
    fn columns_and_single_figures_mix_in_every_order() {
        let formula = Formula::parse("a - b * c - b").unwrap();
        let a = Column::Same(10.0);
        let b = Column::Shared(Arc::from(vec![1.0, 2.0]));
        let c = Column::Shared(Arc::from(vec![3.0, 4.0]));
        let got = formula.evaluate(&[a, b, c]).unwrap();
        assert_eq!(got.figures(), [6.0, 0.0]);
    }

    #[test]
    fn nan_is_not_hidden_by_min_or_max() {
        for text in ["min(0/0, 1)", "min(1, 0/0)", "max(0/0, 1)", "max(1, 0/0)"] {
            assert!(value(text).is_nan(), "{text}");
        }
    }

    #[test]
    fn what_is_no_formula_is_refused() {
        for text in
            ["", " ", "1 +", "a b", "(1", "1)", "{a} + 1", "a % 2", "2 $ 3", "* 2", "1,2", "max(1)", "()"]
        {
            assert!(Formula::parse(text).is_err(), "{text}");
        }
        assert!(Formula::parse(&("(".repeat(60) + "1" + &")".repeat(60))).is_err());
        assert!(Formula::parse(&"1+".repeat(3000)).is_err());
    }

    #[test]
    fn names_come_in_alphabetical_order() {
        let formula = Formula::parse("zeta * alpha + kg_per_hour").unwrap();
        assert_eq!(formula.names(), ["alpha", "kg_per_hour", "zeta"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z0-9+*/^(),. -]{0,24}") {
            let _ = Formula::parse(&text).map(|f| {
                let values = vec![Column::Same(1.5); f.names().len()];
                f.evaluate(&values).map(|_| f.dimension(&vec![Dimension::Unknown; f.names().len()]))
            });
        }
    }
}
