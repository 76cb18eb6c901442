//! The control client: one call, one verb, one exit code.
//!
//! Rule: data to stdout, words to stderr. Start at [`perform`]; the command line is args.rs.

mod args;
mod completions;
mod context;
mod doctor;
mod inputs;
mod offline;
mod operate;
mod output;
mod progress;
mod reproduce;
mod runs;
mod store;
mod submit;
mod summary;
mod tree;
mod watch;

use args::{Cli, FaultName, Verb};
use clap::Parser;
use context::{Context, Outcome, refusal};
use engine::protocol::{FaultKind, Request};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
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
            return offline::validate(context.output, file, workflow.as_deref());
        }
        Verb::Journal(verb) => return store::journal(&context, verb).await,
        Verb::Audit(verb) => return store::audit(&context, verb).await,
        Verb::Gc { dry_run } => return store::tidy(&context, &Request::Gc { dry_run: *dry_run }).await,
        Verb::Completions { shell } => return completions::print(*shell),
        Verb::Man { directory } => return completions::man(directory.as_deref()),
        Verb::List { workflow, phase, limit } => {
            Request::List { workflow: workflow.clone(), phase: phase.clone(), limit: *limit }
        }
        Verb::Show { run: id } => Request::Show { run: run(id) },
        Verb::Pin { run: id, reason } => Request::Pin { run: run(id), reason: reason.clone() },
        Verb::Unpin { run: id, reason } => Request::Unpin { run: run(id), reason: reason.clone() },
        Verb::Pause { run: id } => Request::Pause { run: run(id) },
        Verb::Resume { run: id } => Request::Resume { run: run(id) },
        Verb::Cancel { run: id } => Request::Cancel { run: run(id) },
        Verb::Retry { run: id, from } => Request::Retry { run: run(id), from: from.clone() },
        Verb::EmergencyStop { reason } => Request::EmergencyStop { reason: reason.clone() },
        Verb::EmergencyClear { reason } => Request::EmergencyClear { reason: reason.clone() },
        Verb::Resources => Request::Resources,
        Verb::Backends => Request::Backends,
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
