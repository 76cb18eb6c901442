//! Verbs that steer a run beyond going on and stopping: what they ask of the daemon.

use crate::args::{CloneArgs, SignalArgs};
use crate::submit::parameter;
use engine::protocol::Request;
use std::io::{self, BufRead, IsTerminal, Write};

pub fn clone(args: &CloneArgs) -> Request {
    Request::Clone {
        run: args.run.clone(),
        params: args.set.iter().map(|(name, value)| (name.clone(), parameter(value))).collect(),
        from: args.from.clone(),
        key: args.key.clone(),
        deadline: args.deadline.clone(),
    }
}

pub fn signal(args: &SignalArgs) -> Request {
    Request::Signal {
        run: args.run.clone(),
        stage: args.stage.clone(),
        name: args.name.clone(),
        data: args.data.clone(),
        key: args.key.clone(),
    }
}

/// The reason of a clear. A person at a terminal who gave none is asked for it; without one it is the daemon that
/// says whether it goes without.
pub fn why_clear(given: Option<&String>) -> Option<String> {
    if given.is_some() || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return given.cloned();
    }
    let mut stderr = io::stderr().lock();
    // Nobody is there to be told that nobody is there.
    let _ = write!(stderr, "Why is the emergency over? ").and_then(|()| stderr.flush());
    let mut said = String::new();
    let _ = io::stdin().lock().read_line(&mut said);
    Some(said.trim().to_owned()).filter(|said| !said.is_empty())
}
