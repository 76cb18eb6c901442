//! A count that goes on from any of its places walks exactly what was left, and gives what it gives whole.

use super::super::resume::Resume;
use super::super::resume::{CountCheckpoint, digest};
use super::super::{Column, Row};
use super::*;

/// The domino tilings of a board, cell by cell.
fn dominoes(wide: usize, high: usize) -> Program {
    let mut program = Program::default();
    let mut cells = vec![Vec::new(); wide * high];
    for cell in 0..wide * high {
        let right = (cell % wide + 1 < wide).then_some(cell + 1);
        let below = (cell / wide + 1 < high).then_some(cell + wide);
        for other in [right, below].into_iter().flatten() {
            let column = program.columns.len();
            program.columns.push(Column { name: format!("d{column}"), lower: 0, upper: 1 });
            cells[cell].push((column, 1));
            cells[other].push((column, 1));
        }
    }
    for (at, terms) in cells.into_iter().enumerate() {
        program.rows.push(Row { name: format!("c{at}"), terms, lower: Some(1), upper: Some(1) });
    }
    program
}

/// Some columns of several values under a few rows, from a fixed sequence.
fn random(seed: u64) -> Program {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let mut program = Program::default();
    for c in 0..5 + below(5) {
        let lower = below(4) as i64 - 2;
        program.columns.push(Column { name: format!("x{c}"), lower, upper: lower + below(4) as i64 });
    }
    for r in 0..2 + below(4) {
        let mut terms = Vec::new();
        for column in 0..program.columns.len() {
            if below(3) == 0 {
                terms.push((column, [-2, -1, 1, 1, 3][below(5) as usize]));
            }
        }
        let upper = below(7) as i64;
        let lower = (below(2) == 0).then(|| upper - below(4) as i64);
        program.rows.push(Row { name: format!("r{r}"), terms, lower, upper: Some(upper) });
    }
    program
}

/// Where a count stands after so many nodes.
fn place_after(program: &Program, bytes_max: usize, nodes: u64) -> Option<Place> {
    let signals = Signals::default();
    let mut memo = Memo::new(program, bytes_max, nodes, &signals);
    match memo.run() {
        Err(Ended::Spent) => Some(Place { path: memo.path, found: memo.found, nodes, share: 0 }),
        _ => None,
    }
}

fn whole(program: &Program, bytes_max: usize) -> (u128, u64, u128) {
    let signals = Signals::default();
    let mut memo = Memo::new(program, bytes_max, u64::MAX, &signals);
    let count = memo.run().unwrap();
    (count, memo.nodes, memo.found)
}

#[test]
fn from_any_place_the_rest_is_walked_and_nothing_twice() {
    assert_eq!(whole(&dominoes(4, 5), MEMO_BYTES_MAX).0, 95, "as many as there are");
    let programs = (0..400).map(random).chain([dominoes(4, 5), dominoes(5, 6)]);
    let mut places = 0;
    for (number, program) in programs.enumerate() {
        // Without stored counts nothing is lost with them: the nodes add up.
        let (count, nodes, found) = whole(&program, 0);
        for at in 0..nodes {
            let place = place_after(&program, 0, at).unwrap();
            let kept = CountCheckpoint::new(&digest(&program), place).to_bytes();
            let Ok(Resume::Components(kept)) = Resume::from_bytes(&kept) else { panic!("it is none") };
            let signals = Signals::default();
            let mut memo = Memo::new(&program, 0, u64::MAX, &signals);
            memo.resume(kept.place);
            assert_eq!(memo.run(), Ok(count), "program {number}, after {at} nodes");
            assert_eq!((memo.nodes, memo.found), (nodes, found), "program {number}, after {at} nodes");
            places += 1;
        }
        let (_, nodes, _) = whole(&program, MEMO_BYTES_MAX);
        for at in 0..nodes {
            let signals = Signals::default();
            let mut memo = Memo::new(&program, MEMO_BYTES_MAX, u64::MAX, &signals);
            memo.resume(place_after(&program, MEMO_BYTES_MAX, at).unwrap());
            assert_eq!(memo.run(), Ok(count), "program {number}, stored counts, after {at} nodes");
        }
    }
    assert!(places > 2_000, "only {places} places");
}

#[test]
fn a_place_of_another_search_leads_astray_and_says_so() {
    let program = dominoes(4, 4);
    let astray = [
        vec![Step::Branch { second: false, total: 0 }],
        vec![Step::Product { part: 99, count: 1 }],
        vec![Step::Product { part: 0, count: 1 }, Step::Product { part: 0, count: 1 }],
    ];
    for path in astray {
        let signals = Signals::default();
        let mut memo = Memo::new(&program, 0, u64::MAX, &signals);
        memo.resume(Place { path: path.clone(), ..Place::default() });
        assert_eq!(memo.run(), Err(Ended::Astray), "{path:?}");
    }
}

#[test]
fn a_checkpoint_that_was_damaged_is_none() {
    let place = place_after(&dominoes(4, 4), 0, 3).unwrap();
    let kept = CountCheckpoint::new("program", place);
    assert!(kept.of("program").is_ok() && kept.of("another").is_err());
    let bytes = kept.to_bytes();
    assert_eq!(Resume::from_bytes(&bytes), Ok(Resume::Components(kept)));
    for at in 20..bytes.len() - 1 {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Resume::from_bytes(&damaged).is_err(), "byte {at}");
        assert!(Resume::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
}
