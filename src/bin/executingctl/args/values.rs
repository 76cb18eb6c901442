//! Values of arguments, from text.
//!
//! Rule: what is refused is told with what was expected.

use std::time::Duration;

/// One parameter of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    pub stage: String,
    pub parameter: String,
    pub value: String,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

pub(super) fn places(text: &str) -> Result<(String, u64), String> {
    let (name, places) = pair(text).map_err(|_| "expected NAME=PLACES".to_string())?;
    let places = places.parse().map_err(|_| format!("`{places}` is no number of places"))?;
    Ok((name, places))
}

pub(super) fn tuning(text: &str) -> Result<Tuning, String> {
    let (target, value) = pair(text).map_err(|_| "expected STAGE.PARAM=VALUE".to_string())?;
    match target.rsplit_once('.') {
        Some((stage, parameter)) if !stage.is_empty() && !parameter.is_empty() => {
            Ok(Tuning { stage: stage.into(), parameter: parameter.into(), value })
        }
        _ => Err(format!("`{target}` names no parameter of a stage; expected STAGE.PARAM=VALUE")),
    }
}

pub(super) fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; expected such as 90min, 2h, 7d"))
}

/// How many runs are made up for: `none` is 0, `all` is as many as a schedule may.
pub(super) fn catch_up(text: &str) -> Result<u32, String> {
    match text {
        "none" => Ok(0),
        "one" => Ok(1),
        "all" => Ok(engine::schedule::CATCH_UP_MAX),
        number => number.parse().map_err(|_| "expected none, one, all or a number".to_owned()),
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err("expected more than 0 seconds".into()),
    }
}
