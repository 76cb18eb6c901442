//! What simulated work computes: a number that depends on the run's seed, the stage, its parameters and
//! the results of its needs, and on nothing else.
//!
//! Rule: computed in steps, so that a checkpoint in the middle is worth something and a wrong one shows.

use std::collections::BTreeMap;

/// splitmix64's finish over two words; good enough to tell any two histories apart.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut mixed = a.rotate_left(23) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number for bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut state = bytes.len() as u64 ^ 0x51_7c_c1_b7_27_22_0a_95;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word: [u8; 8] = word.try_into().unwrap_or_default();
        state = (state.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    for byte in words.remainder() {
        state = (state.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    mix(state, state >> 32)
}

/// Where the work of a stage begins: the seed, the stage, its parameters, the results of its needs in
/// the order of its needs (0 for one that was skipped or gave none).
pub fn beginning(seed: u64, stage: u32, params: &str, inputs: impl Iterator<Item = u64>) -> u64 {
    let start = mix(mix(seed, u64::from(stage)), hash(params.as_bytes()));
    inputs.fold(start, mix)
}

/// Parameters without those that change no result: limits on time and the pace of checkpoints.
pub fn that_count(params: &str) -> String {
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(params).unwrap_or_default();
    let neutral = ["start_to_close", "schedule_to_start", "checkpoint_ms"];
    let left: BTreeMap<_, _> =
        all.into_iter().filter(|(name, _)| !neutral.contains(&name.as_str())).collect();
    serde_json::to_string(&left).unwrap_or_default()
}

pub fn step(state: u64, number: u32) -> u64 {
    mix(state, u64::from(number) + 1)
}

/// Steps of work in a stage.
pub const fn steps(stage: u32) -> u32 {
    3 + stage % 3
}

/// The whole work without interruption.
pub fn whole(beginning: u64, stage: u32) -> u64 {
    (0..steps(stage)).fold(beginning, step)
}

/// Name of the one output of a stage.
pub fn output_name(stage: u32) -> String {
    format!("out-{stage}")
}

/// The one fact of a stage: a coin that its result tosses, for predicates to read.
pub const fn flag(value: u64) -> bool {
    !value.is_multiple_of(5)
}

pub fn digest(value: u64) -> String {
    format!("b3:{value:016x}")
}

/// The number behind a digest of this world.
pub fn value_of(digest: &str) -> Option<u64> {
    u64::from_str_radix(digest.strip_prefix("b3:")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_is_resumed_gives_what_whole_work_gives() {
        let start = beginning(1, 4, "{}", [3, 4].into_iter());
        let half = (0..2).fold(start, step);
        assert_eq!((2..steps(4)).fold(half, step), whole(start, 4));
        assert_ne!(beginning(1, 4, "{}", [4, 3].into_iter()), start);
        assert_eq!(value_of(&digest(start)), Some(start));
    }
}
