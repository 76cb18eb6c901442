//! Verbs that steer a run beyond going on and stopping: what they ask of the daemon.

use crate::args::{CloneArgs, SignalArgs};
use crate::submit::parameter;
use engine::protocol::Request;

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
