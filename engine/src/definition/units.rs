//! Durations, sizes and phases as people write them.
//!
//! Rule: a value without a unit means the unit that the key's documentation names, never a guess:
//! durations count seconds, sizes must name their unit.

/// Longest duration accepted. Runs last hours or days; a year is surely a mistake.
pub const DURATION_MS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// `500ms`, `30s`, `5m`, `2h`, `1d`, `1h30m`, or a plain number of seconds, in milliseconds.
///
/// # Errors
/// What is wrong with the text, as a sentence's end.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let seconds: Result<f64, _> = text.trim().parse();
    let total = match seconds {
        Ok(seconds) => seconds * 1000.0,
        Err(_) => sum_of_parts(text.trim())?,
    };
    if !total.is_finite() || total < 1.0 {
        return Err(format!("{text:?} is shorter than 1 ms"));
    }
    if total > DURATION_MS_MAX as f64 {
        return Err(format!("{text:?} is longer than 365 days"));
    }
    Ok(total.round() as u64)
}

fn sum_of_parts(text: &str) -> Result<f64, String> {
    let malformed = || format!("{text:?} is not a duration");
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(malformed());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(malformed)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(end);
        let ms = match unit {
            "ms" => 1.0,
            "s" => 1000.0,
            "m" | "min" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return Err(malformed()),
        };
        total += number.parse::<f64>().map_err(|_| malformed())? * ms;
        rest = next;
    }
    Ok(total)
}

/// `512MiB`, `8GiB` (`MB` and `GB` mean the same), in MiB.
///
/// # Errors
/// What is wrong with the text, as a sentence's end.
pub fn size_mib(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split =
        text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(|| format!("{text:?} names no unit"))?;
    let (number, unit) = text.split_at(split);
    let mib = match unit {
        "MiB" | "MB" | "Mi" | "M" => 1.0,
        "GiB" | "GB" | "Gi" | "G" => 1024.0,
        "TiB" | "TB" | "Ti" | "T" => 1024.0 * 1024.0,
        _ => return Err(format!("{unit:?} is not a unit of size")),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("{text:?} is not a size"))?;
    let total = (number * mib).ceil();
    if (1.0..=1e12).contains(&total) { Ok(total as u64) } else { Err(format!("{text:?} is out of range")) }
}

/// A UTCS phase by number or by its full name (`02-Design` is 2).
pub fn utcs_phase(text: &str) -> Option<u8> {
    let number = text.split('-').next()?;
    number.parse().ok().filter(|phase| (1..=11).contains(phase))
}

/// `critical`, `high`, `medium`, `low`, or a number from 0 to 255.
pub fn priority(text: &str) -> Option<u8> {
    match text {
        "critical" => Some(3),
        "high" => Some(2),
        "medium" => Some(1),
        "low" => Some(0),
        number => number.parse().ok(),
    }
}
