//! The control client: one call, one verb, one exit code.
//!
//! Rule: data to stdout, words to stderr. Start at [`perform`]; the command line is args.rs.

mod args;
mod bar;
mod batch;
mod completions;
mod context;
mod control;
mod doctor;
mod inputs;
mod missing;
mod offline;
mod operate;
mod output;
mod progress;
mod reproduce;
mod runs;
mod schedule;
mod store;
mod submit;
mod summary;
mod table;
mod top;
mod tree;
mod validate;
mod verbs;
mod watch;
mod why;

use args::{BackendVerb, Cli, FaultName, Verb};
use clap::FromArgMatches;
use context::{Context, Outcome, refusal};
use engine::protocol::{BatchAct, FaultKind, Request};
use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = verbs::command().get_matches_from(verbs::plain(std::env::args_os()));
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(perform(&cli)),
        Err(error) => Err(refusal("EX-0009", 75, format!("the machine gives no resources: {error}"))),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(reply) => {
            output::error(&reply);
            ExitCode::from(reply.exit)
        }
    }
}

async fn perform(cli: &Cli) -> Outcome {
    let context = Context::new(&cli.global);
    let run = |run: &String| run.clone();
    let request = match &cli.verb {
        Verb::Submit(args) => return submit::submit(&context, args).await,
        Verb::Events { run, follow } => return runs::events(&context, run, *follow).await,
        Verb::Result { run, artifact } => return runs::result(&context, run, artifact.as_deref()).await,
        Verb::Watch { run } => return watch::until_the_end(&context, run).await,
        Verb::Tune { run, setting } => return runs::tune(&context, run, setting).await,
        Verb::Approve(decision) => return runs::decide(&context, decision, true).await,
        Verb::Reject(decision) => return runs::decide(&context, decision, false).await,
        Verb::Explain { what } => return runs::explain(&context, what).await,
        Verb::Compare { first, second } => return runs::compare(&context, first, second).await,
        Verb::Reproduce { run } => return reproduce::reproduce(&context, run).await,
        Verb::Resource(verb) => return operate::resource(&context, verb).await,
        Verb::Tree { watch } => return operate::tree(&context, *watch).await,
        Verb::Health => return operate::health(&context).await,
        Verb::Doctor => return doctor::doctor(&context).await,
        Verb::Validate { file, workflow } => {
            return validate::validate(context.output, file, workflow.as_deref());
        }
        Verb::Journal(verb) => return store::journal(&context, verb).await,
        Verb::Audit(verb) => return store::audit(&context, verb).await,
        Verb::Gc { dry_run } => return store::tidy(&context, &Request::Gc { dry_run: *dry_run }).await,
        Verb::List(list) => return operate::list(&context, list).await,
        Verb::Show { run: id, watch } => {
            return operate::again(&context, *watch, &Request::Show { run: run(id) }).await;
        }
        Verb::Resources { watch } => return operate::again(&context, *watch, &Request::Resources).await,
        Verb::Backends { watch } => return operate::again(&context, *watch, &Request::Backends).await,
        Verb::Top { every, count } => return top::top(&context, *every, *count).await,
        Verb::Pause { many, now } => {
            let single = |run| Request::Pause { run, now: *now };
            return batch::act(&context, BatchAct::Pause, many, single).await;
        }
        Verb::Resume(many) => {
            return batch::act(&context, BatchAct::Resume, many, |run| Request::Resume { run }).await;
        }
        Verb::Cancel(many) => {
            return batch::act(&context, BatchAct::Cancel, many, |run| Request::Cancel { run }).await;
        }
        Verb::Retry { many, from } => {
            let single = |run| Request::Retry { run, from: from.clone() };
            return batch::act(&context, BatchAct::Retry, many, single).await;
        }
        Verb::Dead { verb } => return batch::dead(&context, verb.as_ref()).await,
        Verb::Schedule(verb) => return schedule::schedule(&context, verb).await,
        Verb::Verbs => return verbs::print(&context),
        Verb::Completions { shell } => return completions::print(*shell),
        Verb::Man { directory } => return completions::man(directory.as_deref()),
        Verb::Pin { run: id, reason } => Request::Pin { run: run(id), reason: reason.clone() },
        Verb::Unpin { run: id, reason } => Request::Unpin { run: run(id), reason: reason.clone() },
        Verb::Reset { run: id, to } => Request::Reset { run: run(id), to: to.clone() },
        Verb::Clone(args) => control::clone(args),
        Verb::Signal(args) => control::signal(args),
        Verb::EmergencyStop { reason } => Request::EmergencyStop { reason: reason.clone() },
        Verb::EmergencyClear { reason } => {
            Request::EmergencyClear { reason: control::why_clear(reason.as_ref()) }
        }
        Verb::Backend(BackendVerb::Test { name, spend }) => {
            Request::BackendTest { name: name.clone(), spend: *spend }
        }
        Verb::Backend(BackendVerb::Drain { name, reason }) => {
            Request::BackendDrain { name: name.clone(), reason: reason.clone() }
        }
        Verb::Backend(BackendVerb::Resume { name }) => Request::BackendResume { name: name.clone() },
        Verb::Jobs { run, state } => Request::Jobs { run: run.clone(), state: state.clone() },
        Verb::Deployments => Request::Deployments,
        Verb::Rollback { release } => Request::Rollback { release: release.clone() },
        Verb::Inject { child, fault, seconds } => Request::Inject {
            child: child.clone(),
            fault: match fault {
                FaultName::Panic => FaultKind::Panic,
                FaultName::Kill => FaultKind::Kill,
                FaultName::Hang => FaultKind::Hang { ms: seconds.saturating_mul(1_000) },
            },
        },
    };
    context.show(&request).await
}
