//! `schedule`: submissions by the clock.
//!
//! Rule: what is to be submitted is checked and uploaded now, while somebody is there to read what is wrong.

use crate::args::{OverlapName, ScheduleAdd, ScheduleVerb};
use crate::context::{Context, Outcome, refusal};
use crate::submit;
use engine::protocol::{Request, ScheduleRequest, ScheduleSpec};
use engine::schedule::{CatchUp, Line, LineError, Overlap};
use std::time::Duration;

pub async fn schedule(context: &Context, verb: &ScheduleVerb) -> Outcome {
    let asked = match verb {
        ScheduleVerb::Add(args) => return add(context, args).await,
        ScheduleVerb::List => ScheduleRequest::List,
        ScheduleVerb::Show { name } => ScheduleRequest::Show { name: name.clone() },
        ScheduleVerb::Pause { name, reason } => {
            ScheduleRequest::Pause { name: name.clone(), reason: reason.clone() }
        }
        ScheduleVerb::Resume { name } => ScheduleRequest::Resume { name: name.clone() },
        ScheduleVerb::Remove { name } => ScheduleRequest::Remove { name: name.clone() },
        ScheduleVerb::Run { name } => ScheduleRequest::Run { name: name.clone() },
        ScheduleVerb::Next { name, count } => ScheduleRequest::Next { name: name.clone(), count: *count },
    };
    context.show(&Request::Schedule(asked)).await
}

async fn add(context: &Context, args: &ScheduleAdd) -> Outcome {
    // Before anything is uploaded. The daemon checks it again, with the clock.
    Line::read(&args.cron, &args.timezone)
        .map_err(|error: LineError| refusal("EX-0064", 8, error.to_string()))?;
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (mut client, submission) = submit::ready(context, &args.submission).await?;
    let spec = ScheduleSpec {
        name: args.name.clone(),
        cron: args.cron.clone(),
        timezone: args.timezone.clone(),
        overlap: match args.overlap {
            OverlapName::Skip => Overlap::Skip,
            OverlapName::Queue => Overlap::Queue,
            OverlapName::CancelPrevious => Overlap::CancelPrevious,
        },
        catch_up: match args.catch_up {
            0 => CatchUp::None,
            1 => CatchUp::One,
            max => CatchUp::All { max },
        },
        jitter_ms: args.jitter.map_or(0, ms),
        interval_ms_min: args.interval_min.map(ms),
        submission,
    };
    let request = Request::Schedule(ScheduleRequest::Add(Box::new(spec)));
    context.output.data(&client.request(&request).await?);
    Ok(0)
}
