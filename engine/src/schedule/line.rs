//! A cron line in a time zone: which moments it names.
//!
//! Rule: five fields or a nickname such as `@daily`, so never more often than once a minute; a time that daylight
//! saving leaves out is moved to the first moment after the gap, one that it repeats counts once, and lines that
//! name every minute or every n-th hour go on through both. Zones are those of the IANA database that the
//! program was built with. Absent: the clock. docs/decisions/0030 says why `croner` and `chrono-tz`.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use std::collections::VecDeque;

/// Longest cron line; every minute of an hour spelt out is 170 bytes.
pub const LINE_BYTES_MAX: usize = 256;
/// A minute: the finest that five fields can say.
pub const MINUTE_MS: u64 = 60_000;
/// Dues that are looked at to find the smallest gap: an hour of minutes and a week of hours several times over.
const GAP_DUES: usize = 400;
/// Minutes between two moments up to which dues are counted one by one.
const COUNTED_MINUTES_MAX: u64 = 2_000;
/// First stretch in which the last dues are looked for, and by how much it grows.
const STRETCH_MS: u64 = 3_600_000;
const STRETCH_GROWS: u64 = 4;

/// Why a line names no moments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("a cron line has at most {LINE_BYTES_MAX} bytes, got {0}")]
    TooLong(usize),
    #[error(
        "`{line}` is no cron line: {why}. Expected minute, hour, day of month, month, day of week, such as `0 2 * * 1-5`, or `@daily`"
    )]
    Cron { line: String, why: String },
    #[error("there is no time zone {given}{}", nearest.as_ref().map_or(String::new(), |n| format!("; is {n} meant?")))]
    Zone { given: String, nearest: Option<String> },
    #[error("`{0}` names no moment that ever comes, such as the 30th of February")]
    Never(String),
}

/// A cron line that was understood.
#[derive(Debug, Clone)]
pub struct Line {
    cron: Cron,
    zone: Tz,
}

/// The last moments of a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastDues {
    /// Ascending, in ms since 1970.
    pub dues: Vec<u64>,
    /// Moments before them in the same stretch.
    pub earlier: u64,
    /// Whether `earlier` is their number; else there are at least so many.
    pub exact: bool,
}

impl Line {
    /// Understands a line; `timezone` is a name such as `UTC` or `Europe/Madrid`.
    ///
    /// # Errors
    /// [`LineError`]; a line that never comes true is told by [`Line::next_after`].
    pub fn read(line: &str, timezone: &str) -> Result<Self, LineError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong(line.len()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let wrong = |why: String| LineError::Cron { line: line.to_owned(), why };
        let cron =
            parser.parse(line).map_err(|error| wrong(error.to_string().trim_end_matches('.').to_owned()))?;
        let zone = timezone.parse::<Tz>().map_err(|_| unknown_zone(timezone))?;
        Ok(Self { cron, zone })
    }

    /// The first moment after `ms`; `None` if there is none. Both in ms since 1970.
    pub fn next_after(&self, ms: u64) -> Option<u64> {
        let from = DateTime::<Utc>::from_timestamp(i64::try_from(ms / 1_000).ok()?, 0)?;
        let next = self.cron.find_next_occurrence(&from.with_timezone(&self.zone), false).ok()?;
        u64::try_from(next.timestamp()).ok()?.checked_mul(1_000).filter(|next| *next > ms)
    }

    /// The moment as people in the zone say it, such as `2026-03-29 03:00 CEST`.
    pub fn local(&self, ms: u64) -> String {
        let at = i64::try_from(ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
        at.map_or_else(String::new, |at| at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M %Z").to_string())
    }

    /// The smallest time between two of the next moments, in ms; `None` if fewer than two come.
    pub fn smallest_gap(&self, after_ms: u64) -> Option<u64> {
        let mut dues = std::iter::successors(self.next_after(after_ms), |due| self.next_after(*due));
        let mut before = dues.next()?;
        let gaps = dues.take(GAP_DUES).map(|due| {
            let gap = due - before;
            before = due;
            gap
        });
        // Nothing is closer than a minute, so looking on would find no smaller one.
        let mut smallest = None;
        for gap in gaps {
            smallest = Some(smallest.map_or(gap, |known: u64| known.min(gap)));
            if gap <= MINUTE_MS {
                break;
            }
        }
        smallest
    }

    /// The last `most` moments in (`after_ms`, `until_ms`]. The cost depends on `most`, not on how long the
    /// stretch is: a daemon that was off for a year does not count its minutes.
    pub fn last_dues(&self, after_ms: u64, until_ms: u64, most: usize) -> LastDues {
        let mut stretch = if until_ms.saturating_sub(after_ms) / MINUTE_MS <= COUNTED_MINUTES_MAX {
            u64::MAX
        } else {
            STRETCH_MS
        };
        loop {
            let from = after_ms.max(until_ms.saturating_sub(stretch));
            let (mut last, mut count) = (VecDeque::with_capacity(most + 1), 0_u64);
            let mut due = from;
            while let Some(next) = self.next_after(due).filter(|next| *next <= until_ms) {
                due = next;
                count += 1;
                last.push_back(next);
                if last.len() > most {
                    last.pop_front();
                }
            }
            let exact = from == after_ms;
            if exact || count > most as u64 {
                let earlier = count - last.len() as u64;
                return LastDues { dues: last.into(), earlier, exact };
            }
            stretch = stretch.saturating_mul(STRETCH_GROWS);
        }
    }
}

fn unknown_zone(given: &str) -> LineError {
    let distance = |zone: &Tz| strsim::levenshtein(&zone.name().to_lowercase(), &given.to_lowercase());
    let nearest = chrono_tz::TZ_VARIANTS.iter().min_by_key(|zone| distance(zone));
    let nearest = nearest.filter(|zone| distance(zone) <= 3).map(|zone| zone.name().to_owned());
    LineError::Zone { given: given.chars().take(64).collect(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis() as u64
    }

    fn next(line: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let line = Line::read(line, zone).unwrap();
        let dues = std::iter::successors(line.next_after(ms(after)), |due| line.next_after(*due));
        dues.take(count).map(|due| line.local(due)).collect()
    }

    #[test]
    fn a_time_that_daylight_saving_leaves_out_comes_once_right_after_the_gap() {
        // Clocks in Madrid go from 02:00 to 03:00 on 2026-03-29.
        assert_eq!(
            next("30 2 * * *", "Europe/Madrid", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28 02:30 CET", "2026-03-29 03:00 CEST", "2026-03-30 02:30 CEST"]
        );
        // One that is not left out does not move and does not double.
        assert_eq!(
            next("0 0 * * *", "Europe/Madrid", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29 00:00 CET", "2026-03-30 00:00 CEST"]
        );
    }

    #[test]
    fn a_time_that_daylight_saving_repeats_comes_once_and_every_hour_comes_each_time() {
        // Clocks in Madrid go from 03:00 back to 02:00 on 2026-10-25.
        assert_eq!(
            next("30 2 * * *", "Europe/Madrid", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25 02:30 CEST", "2026-10-26 02:30 CET"]
        );
        assert_eq!(
            next("0 * * * *", "Europe/Madrid", "2026-10-24T23:30:00Z", 4),
            ["2026-10-25 02:00 CEST", "2026-10-25 02:00 CET", "2026-10-25 03:00 CET", "2026-10-25 04:00 CET"]
        );
    }

    #[test]
    fn zones_of_half_hours_and_of_the_far_side_of_the_date_line_are_kept_apart() {
        assert_eq!(
            next("0 9 * * 1-5", "Asia/Kolkata", "2026-01-02T00:00:00Z", 2),
            ["2026-01-02 09:00 IST", "2026-01-05 09:00 IST"]
        );
        let line = Line::read("0 0 1 1 *", "Pacific/Kiritimati").unwrap();
        assert_eq!(line.next_after(ms("2026-06-01T00:00:00Z")), Some(ms("2026-12-31T10:00:00Z")));
    }

    #[test]
    fn what_is_no_line_is_refused_with_the_reason() {
        let why = |line: &str, zone: &str| Line::read(line, zone).unwrap_err().to_string();
        for wrong in
            ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "0 0 0 * *", "x * * * *", "@often"]
        {
            assert!(why(wrong, "UTC").contains("no cron line"), "{wrong}: {}", why(wrong, "UTC"));
        }
        assert!(why(&"*".repeat(300), "UTC").contains("300"));
        assert!(why("0 2 * * *", "Europe/Madrit").contains("Europe/Madrid"));
        assert!(!why("0 2 * * *", "Nowhere at all").contains("meant"));
    }

    #[test]
    fn the_30th_of_february_never_comes_and_the_29th_does_in_four_years() {
        let from = ms("2025-01-01T00:00:00Z");
        assert_eq!(Line::read("0 0 30 2 *", "UTC").unwrap().next_after(from), None);
        assert_eq!(
            Line::read("0 0 29 2 *", "UTC").unwrap().next_after(from),
            Some(ms("2028-02-29T00:00:00Z"))
        );
    }

    #[test]
    fn the_smallest_gap_is_that_of_the_closest_pair() {
        let from = ms("2026-01-01T00:00:00Z");
        let gap = |line: &str| Line::read(line, "UTC").unwrap().smallest_gap(from).map(|gap| gap / MINUTE_MS);
        assert_eq!(gap("* * * * *"), Some(1));
        assert_eq!(gap("*/7 * * * *"), Some(4));
        assert_eq!(gap("0,5 0 1 1 *"), Some(5));
        assert_eq!(gap("@daily"), Some(24 * 60));
        assert_eq!(gap("0 0 30 2 *"), None);
    }

    #[test]
    fn the_last_dues_are_the_same_as_those_of_counting_all() {
        let (from, until) = (ms("2026-03-27T00:00:00Z"), ms("2026-03-30T12:34:56Z"));
        for text in ["*/5 * * * *", "30 2 * * *", "0 * * * *", "0 0 1 1 *", "15 3 * * 0"] {
            let line = Line::read(text, "Europe/Madrid").unwrap();
            let all: Vec<u64> = std::iter::successors(line.next_after(from), |due| line.next_after(*due))
                .take_while(|due| *due <= until)
                .collect();
            for most in [1, 3, 1_000] {
                let found = line.last_dues(from, until, most);
                assert_eq!(found.dues, all[all.len().saturating_sub(most)..], "{text}, {most}");
                assert!(found.earlier <= (all.len() - found.dues.len()) as u64, "{text}, {most}");
                assert!(!found.exact || found.earlier == (all.len() - found.dues.len()) as u64);
            }
        }
    }

    #[test]
    fn a_year_of_minutes_costs_no_more_than_an_hour_of_them() {
        let line = Line::read("* * * * *", "UTC").unwrap();
        let found = line.last_dues(ms("2025-01-01T00:00:00Z"), ms("2026-01-01T00:00:30Z"), 2);
        assert_eq!(found.dues, [ms("2025-12-31T23:59:00Z"), ms("2026-01-01T00:00:00Z")]);
        assert!(!found.exact && found.earlier < 100, "{found:?}");
    }
}
