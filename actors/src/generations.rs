//! Streams that begin anew: what still counts of a long stream becomes the first records of the next one.
//!
//! The stream `resources` goes on as `resources/2`, then `resources/3`. One batch closes the old one and begins
//! the new one with all that stands, so at every moment exactly one of them is in force: the newest. Rule: the
//! closing record names the number at which it stands, so a late record of the old stream makes the batch fail,
//! and a late one behind it fails itself. The journal's compaction drops old generations like the streams of
//! forgotten runs. Absent: what is carried over (each machine says that of itself).

use journal::Journal;

/// Streams that begin anew when they have grown long.
pub const BASES: [&str; 2] = [crate::resources::RESOURCES_STREAM, crate::timetable::SCHEDULES_STREAM];

/// Records from which on a stream begins anew in a usual round of housekeeping: reading so many at a start takes
/// some ten milliseconds.
pub const RECORDS_MAX: u64 = 4_096;

/// Name of the stream in its generation, from 1 on.
pub fn name(base: &str, generation: u64) -> String {
    if generation <= 1 { base.to_owned() } else { format!("{base}/{generation}") }
}

/// Which generation of `base` this stream is, if it is one.
pub fn generation_of(base: &str, stream: &str) -> Option<u64> {
    if stream == base {
        return Some(1);
    }
    let number = stream.strip_prefix(base)?.strip_prefix('/')?;
    number.parse().ok().filter(|generation: &u64| *generation > 1 && number == generation.to_string())
}

/// The generation in force.
pub fn newest(journal: &Journal, base: &str) -> u64 {
    let streams = journal.streams(base);
    streams.iter().filter_map(|(stream, _)| generation_of(base, stream)).max().unwrap_or(1)
}

/// Whether a newer generation of this stream is in force; `newest` is that of each of [`BASES`].
pub fn is_over(newest: &[u64; BASES.len()], stream: &str) -> bool {
    let of = |(base, newest): (&&str, &u64)| generation_of(base, stream).is_some_and(|own| own < *newest);
    BASES.iter().zip(newest).any(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generations_older_than_the_newest_are_over_and_no_other_stream_ever_is() {
        for generation in [1, 2, 17] {
            assert_eq!(generation_of("resources", &name("resources", generation)), Some(generation));
        }
        let over = |stream| is_over(&[3, 1], stream);
        assert!(over("resources") && over("resources/2"));
        assert!(!over("resources/3") && !over("schedules"));
        for other in
            ["resources/02", "resources/1", "resources/", "resourcesX", "runs/run-000001", "resources/2/3"]
        {
            assert!(!over(other), "{other}");
        }
    }
}
