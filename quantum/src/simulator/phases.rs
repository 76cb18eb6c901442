//! exp(-i angle C) on a run of amplitudes: by a table where few costs differ, else by sine and cosine.
//!
//! The costs of a MaxCut are whole numbers of edges: some dozen phases per layer, looked up by one byte per
//! amplitude. The table holds the very numbers that the other way computes, so both give the same bits.

use super::sums::PIECE;
use crate::phase::{FAST_MAX, cos_sin, reduced};
use crate::wide::wide;

/// Most different costs of a table: one byte each, and 4 KiB of sines and cosines.
const DISTINCT_MAX: usize = 256;

/// How the phases of a list of costs are found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phases {
    /// `index[i]` says which of `distinct` is the cost of i.
    Table { index: Vec<u8>, distinct: Vec<f64> },
    /// One sine and cosine per amplitude. The largest cost decides whether the fast reduction holds.
    Direct { largest: f64 },
}

/// The phases of one layer.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    Table { index: &'a [u8], cosines: Box<[f64; DISTINCT_MAX]>, sines: Box<[f64; DISTINCT_MAX]> },
    Direct { values: &'a [f64], angle: f64, fast: bool },
}

impl Phases {
    /// Looks at every cost once; gives up the table at the first cost too many.
    pub fn of(values: &[f64]) -> Self {
        let largest = values.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        // A list that fits the table anyway gains nothing from it.
        if values.len() <= 4 * DISTINCT_MAX {
            return Self::Direct { largest };
        }
        const SLOTS: usize = 4 * DISTINCT_MAX;
        let (mut place, mut distinct) = ([0u16; SLOTS], Vec::<f64>::new());
        let mut index = Vec::with_capacity(values.len());
        for &value in values {
            let bits = value.to_bits();
            let mut slot = (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % SLOTS;
            loop {
                match place[slot] {
                    0 if distinct.len() == DISTINCT_MAX => return Self::Direct { largest },
                    0 => {
                        distinct.push(value);
                        place[slot] = distinct.len() as u16;
                        index.push((distinct.len() - 1) as u8);
                        break;
                    }
                    known if distinct[known as usize - 1].to_bits() == bits => {
                        index.push((known - 1) as u8);
                        break;
                    }
                    _ => slot = (slot + 1) % SLOTS,
                }
            }
        }
        Self::Table { index, distinct }
    }

    /// The phases of a layer with this angle.
    pub fn turn<'a>(&'a self, values: &'a [f64], angle: f64) -> Turn<'a> {
        match self {
            Self::Direct { largest } => {
                Turn::Direct { values, angle, fast: largest * angle.abs() <= FAST_MAX }
            }
            Self::Table { index, distinct } => {
                let (mut cosines, mut sines) = (Box::new([1.0; DISTINCT_MAX]), Box::new([0.0; DISTINCT_MAX]));
                for (i, value) in distinct.iter().enumerate() {
                    (cosines[i], sines[i]) = cos_sin(angle * value);
                }
                Turn::Table { index, cosines, sines }
            }
        }
    }
}

impl Turn<'_> {
    /// Calls `work(offset, cosines, sines)` for neighbouring runs that make up `count` amplitudes from `start`.
    #[inline]
    pub fn runs(&self, start: usize, count: usize, mut work: impl FnMut(usize, &[f64], &[f64])) {
        let (mut c, mut s) = ([0.0; PIECE], [0.0; PIECE]);
        let mut offset = 0;
        while offset < count {
            let size = PIECE.min(count - offset);
            let here = start + offset..start + offset + size;
            let (c, s) = (&mut c[..size], &mut s[..size]);
            match self {
                Self::Table { index, cosines, sines } => look_up(&index[here], cosines, sines, c, s),
                Self::Direct { values, angle, fast: true } => sines_of(*angle, &values[here], c, s),
                Self::Direct { values, angle, fast: false } => {
                    for ((value, c), s) in values[here].iter().zip(c.iter_mut()).zip(s.iter_mut()) {
                        (*c, *s) = cos_sin(angle * value);
                    }
                }
            }
            work(offset, c, s);
            offset += size;
        }
    }

    /// Multiplies the amplitudes from `start` on by their phases.
    pub fn apply(&self, start: usize, re: &mut [f64], im: &mut [f64]) {
        let count = re.len();
        self.runs(start, count, |offset, c, s| {
            let here = offset..offset + c.len();
            rotate(&mut re[here.clone()], &mut im[here], c, s);
        });
    }

    /// The amplitudes from `start` on become `level` times their phases.
    pub fn begin(&self, start: usize, level: f64, re: &mut [f64], im: &mut [f64]) {
        let count = re.len();
        self.runs(start, count, |offset, c, s| {
            let here = offset..offset + c.len();
            let parts = re[here.clone()].iter_mut().zip(&mut im[here]);
            for ((re, im), (c, s)) in parts.zip(c.iter().zip(s)) {
                (*re, *im) = (level * c, -(level * s));
            }
        });
    }
}

wide! {
    fn sines_of(angle: f64, values: &[f64], cosines: &mut [f64], sines: &mut [f64]) {
        for ((value, c), s) in values.iter().zip(cosines).zip(sines) {
            (*c, *s) = reduced(angle * value);
        }
    }

    /// (re, im) times (c - i s).
    pub(crate) fn rotate(re: &mut [f64], im: &mut [f64], cosines: &[f64], sines: &[f64]) {
        for (((r, i), c), s) in re.iter_mut().zip(im).zip(cosines).zip(sines) {
            (*r, *i) = (*r * c + *i * s, *i * c - *r * s);
        }
    }
}

fn look_up(
    index: &[u8],
    cosines: &[f64; DISTINCT_MAX],
    sines: &[f64; DISTINCT_MAX],
    c: &mut [f64],
    s: &mut [f64],
) {
    for ((index, c), s) in index.iter().zip(c).zip(s) {
        (*c, *s) = (cosines[*index as usize], sines[*index as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::Phases;
    use crate::wide::tests::at_every_width;

    #[test]
    fn a_table_and_single_sines_give_the_same_bits_at_every_width() {
        let values: Vec<f64> = (0..5000u32).map(|i| f64::from(i * 7919 % 200) * 0.37 - 9.0).collect();
        let table = Phases::of(&values);
        assert!(matches!(&table, Phases::Table { distinct, .. } if distinct.len() == 200));
        let direct = Phases::Direct { largest: 65.0 };
        let turned = |phases: &Phases, angle: f64| {
            let (mut re, mut im) = (vec![0.6; 4000], vec![-0.8; 4000]);
            phases.turn(&values, angle).apply(1000, &mut re, &mut im);
            (re, im)
        };
        for angle in [0.7, -31.0, 4.0e7] {
            let wanted = turned(&table, angle);
            for phases in [&table, &direct] {
                assert!(at_every_width(|| turned(phases, angle)).iter().all(|found| *found == wanted));
            }
        }
    }

    #[test]
    fn too_many_costs_leave_the_table_and_zeros_of_both_signs_stay_apart() {
        let values: Vec<f64> = (0..5000u32).map(f64::from).collect();
        assert_eq!(Phases::of(&values), Phases::Direct { largest: 4999.0 });
        let signs: Vec<f64> = (0..2000u32).map(|i| if i % 2 == 0 { 0.0 } else { -0.0 }).collect();
        assert!(matches!(Phases::of(&signs), Phases::Table { distinct, .. } if distinct.len() == 2));
    }
}
