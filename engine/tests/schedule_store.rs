//! What is stored of schedules keeps its bytes: a store of today is read by every later version.
//!
//! bincode numbers variants and fields by place, so a change of order is found here and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use engine::schedule::{Carried, CatchUp, Event, Fire, Outcome, Overlap, Passed, Spec, Waiting};

fn name() -> String {
    "n".into()
}

/// One of each, with the bytes of schema 1.
fn all() -> Vec<(Event, &'static str)> {
    let spec = Spec {
        cron: "@daily".into(),
        timezone: "UTC".into(),
        overlap: Overlap::CancelPrevious,
        catch_up: CatchUp::All { max: 7 },
        jitter_ms: 5,
        interval_ms_min: 60_000,
        workflow: "w".into(),
        submission: "{}".into(),
        by: "ada".into(),
        role: "operator".into(),
    };
    let key = || "n@k".to_owned();
    let run = "run-000001".to_owned();
    let refused = Outcome::Refused { code: "EX-0015".into(), message: "m".into() };
    let outcome = Some(Outcome::Submitted { run: run.clone() });
    let fire = Fire { due_ms: 9, key: key(), at_ms: 10, manual: false, outcome };
    let carried = Carried {
        spec: spec.clone(),
        paused: Some("r".into()),
        through_ms: 9,
        waiting: vec![Waiting { due_ms: 9, manual: true }],
        latest: Some(fire.clone()),
        outcomes: vec![fire],
        fired: 3,
        passed: 4,
        passed_why: Some((9, Passed::Overlap)),
    };
    vec![
        (
            Event::ScheduleAdded { name: name(), spec, at_ms: 9 },
            "0000000001000000000000006e0600000000000000406461696c790300000000000000555443020000000200000007000000050000000000000060ea00000000000001000000000000007702000000000000007b7d030000000000000061646108000000000000006f70657261746f720900000000000000",
        ),
        (Event::ScheduleRemoved { name: name() }, "0100000001000000000000006e"),
        (
            Event::SchedulePaused { name: name(), reason: "r".into() },
            "0200000001000000000000006e010000000000000072",
        ),
        (Event::ScheduleResumed { name: name(), at_ms: 9 }, "0300000001000000000000006e0900000000000000"),
        (
            Event::DuesPassed { name: name(), through_ms: 9, count: 3, exact: true, why: Passed::Overlap },
            "0400000001000000000000006e090000000000000003000000000000000102000000",
        ),
        (
            Event::DueQueued { name: name(), due_ms: 9, manual: false },
            "0500000001000000000000006e090000000000000000",
        ),
        (
            Event::DueDropped { name: name(), due_ms: 9, manual: true, why: Passed::Replaced },
            "0600000001000000000000006e09000000000000000104000000",
        ),
        (
            Event::ScheduleFired { name: name(), due_ms: 9, key: key(), manual: false, at_ms: 10 },
            "0700000001000000000000006e090000000000000003000000000000006e406b000a00000000000000",
        ),
        (
            Event::FireSettled { name: name(), key: key(), outcome: Outcome::Submitted { run } },
            "0800000001000000000000006e03000000000000006e406b000000000a0000000000000072756e2d303030303031",
        ),
        (
            Event::FireSettled { name: name(), key: key(), outcome: refused },
            "0800000001000000000000006e03000000000000006e406b01000000070000000000000045582d3030313501000000000000006d",
        ),
        (Event::TimetableClosed, "09000000"),
        (Event::TimetableCarried { schedules: 3 }, "0a0000000300000000000000"),
        (
            Event::ScheduleCarried { name: name(), carried: Box::new(carried) },
            "0b00000001000000000000006e0600000000000000406461696c790300000000000000555443020000000200000007000000050000000000000060ea00000000000001000000000000007702000000000000007b7d030000000000000061646108000000000000006f70657261746f72010100000000000000720900000000000000010000000000000009000000000000000101090000000000000003000000000000006e406b0a000000000000000001000000000a0000000000000072756e2d3030303030310100000000000000090000000000000003000000000000006e406b0a000000000000000001000000000a0000000000000072756e2d3030303030310300000000000000040000000000000001090000000000000002000000",
        ),
    ]
}

#[test]
fn events_of_schema_1_are_written_and_read_byte_by_byte_as_ever() {
    for (event, golden) in all() {
        let bytes = bincode::serialize(&event).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden, "{}", event.name());
        let golden: Vec<u8> = (0..golden.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&golden[i..i + 2], 16).unwrap())
            .collect();
        assert_eq!(bincode::deserialize::<Event>(&golden).unwrap(), event);
    }
}
