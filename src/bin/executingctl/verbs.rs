//! The tree of verbs as clap has it: with examples, as a table for docs/client.md, as JSON for programs.
//!
//! Rule: nothing is said twice; a new verb appears here by itself, and the tests fail until it has an example.

use crate::args::Cli;
use crate::context::{Context, Outcome};
use clap::{ArgAction, Command, CommandFactory};
use serde_json::{Value, json};
use std::ffi::OsString;

/// One line for each verb that shows how it is used; printed by `--help` and on its man page.
pub const EXAMPLES: &[(&str, &str)] = &[
    (
        "submit",
        "executingctl submit full-optimization --set space=space.yaml --set seed=7 --key nightly-7 --wait",
    ),
    ("list", "executingctl list --workflow full-optimization --phase running --older-than 2h --limit 50"),
    ("show", "executingctl show run-000001 --watch"),
    ("top", "executingctl top"),
    ("events", "executingctl events run-000001 --follow"),
    ("result", "executingctl result run-000001 --artifact optimal_config.json > optimal.json"),
    ("watch", "executingctl watch run-000001"),
    ("pause", "executingctl pause run-000001 run-000002"),
    ("resume", "executingctl resume --workflow full-optimization --yes"),
    ("cancel", "executingctl cancel --workflow full-optimization --phase running --dry-run"),
    ("retry", "executingctl retry run-000001 --from risk-aware-selection/cvar-calculation"),
    ("tune", "executingctl tune run-000001 risk-aware-selection/qaoa-optimization.shots=4096"),
    ("reset", "executingctl reset run-000001 --to risk-aware-selection/cvar-calculation"),
    ("clone", "executingctl clone run-000001 --set seed=8 --from risk-aware-selection/cvar-calculation"),
    (
        "signal",
        "executingctl signal run-000001 wind-tunnel measured --data '{\"drag\":0.021}' --key measurement-7",
    ),
    ("dead", "executingctl dead list --workflow full-optimization"),
    ("dead list", "executingctl dead list --older-than 1d"),
    ("dead retry", "executingctl dead retry --workflow full-optimization --yes"),
    (
        "dead dismiss",
        "executingctl dead dismiss run-000001 --reason 'wrong input, submitted again as run-000002'",
    ),
    (
        "schedule",
        "executingctl schedule add nightly --cron '0 2 * * 1-5' --timezone Europe/Madrid full-optimization",
    ),
    (
        "schedule add",
        "executingctl schedule add nightly --cron '0 2 * * 1-5' --timezone Europe/Madrid --catch-up one -- full-optimization --set space=space.yaml",
    ),
    ("schedule list", "executingctl schedule list"),
    ("schedule show", "executingctl schedule show nightly"),
    ("schedule pause", "executingctl schedule pause nightly --reason 'inventory'"),
    ("schedule resume", "executingctl schedule resume nightly"),
    ("schedule remove", "executingctl schedule remove nightly"),
    ("schedule run", "executingctl schedule run nightly"),
    ("schedule next", "executingctl schedule next nightly -n 10"),
    ("approve", "executingctl approve run-000001 release-gate --reason 'reviewed with the board'"),
    ("reject", "executingctl reject run-000001 release-gate --reason 'costs are out of date'"),
    ("emergency-stop", "executingctl emergency-stop --reason 'power is going down'"),
    ("emergency-clear", "executingctl emergency-clear --reason 'power is back'"),
    ("resources", "executingctl resources --watch"),
    ("resource", "executingctl resource drain worker-1 --reason 'a new disk'"),
    ("resource drain", "executingctl resource drain worker-1 --reason 'a new disk'"),
    ("resource undrain", "executingctl resource undrain worker-1"),
    (
        "resource reserve",
        "executingctl resource reserve review --user ada --cpu 2 --memory 8GiB --from 2026-01-05T08:00:00Z --until 4h",
    ),
    ("resource unreserve", "executingctl resource unreserve review"),
    ("backends", "executingctl backends"),
    ("backend", "executingctl backend drain simulator --reason 'recalibration'"),
    ("backend test", "executingctl backend test simulator"),
    ("backend drain", "executingctl backend drain simulator --reason 'recalibration'"),
    ("backend resume", "executingctl backend resume simulator"),
    ("jobs", "executingctl jobs --state open"),
    ("tree", "executingctl tree --watch"),
    ("health", "executingctl health"),
    ("explain", "executingctl explain run-000001; executingctl explain EX-0501"),
    ("deployments", "executingctl deployments"),
    ("rollback", "executingctl rollback rel-0123456789abcdef"),
    ("journal", "executingctl journal verify"),
    ("journal verify", "executingctl journal verify --state /var/lib/executing"),
    ("journal head", "executingctl journal head"),
    ("journal export", "executingctl journal export journal.export"),
    ("journal import", "executingctl journal import journal.export --state ./restored"),
    ("journal rebuild", "executingctl journal rebuild --state /var/lib/executing"),
    ("journal backup", "executingctl journal backup /backup/2026-11-23"),
    ("journal compact", "executingctl journal compact"),
    ("audit", "executingctl audit export audit.jsonl"),
    ("audit verify", "executingctl audit verify"),
    ("audit export", "executingctl audit export audit.jsonl"),
    ("pin", "executingctl pin run-000001 --reason 'evidence of the release'"),
    ("unpin", "executingctl unpin run-000001"),
    ("gc", "executingctl gc --dry-run"),
    ("validate", "executingctl validate workflow.yaml"),
    ("doctor", "executingctl doctor"),
    ("compare", "executingctl compare run-000001 run-000002"),
    ("reproduce", "executingctl reproduce run-000001"),
    ("inject", "executingctl inject workers/worker-1 --fault kill"),
    ("verbs", "executingctl verbs -o json"),
    ("completions", "executingctl completions bash > /etc/bash_completion.d/executingctl"),
    ("man", "executingctl man /usr/local/share/man/man1"),
];

/// The command line with an example for each verb.
pub fn command() -> Command {
    with_examples(Cli::command(), "")
}

fn with_examples(mut command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(&name, |verb| with_examples(verb, &path));
    }
    match EXAMPLES.iter().find(|(verb, _)| *verb == path) {
        Some((_, example)) => command.after_help(format!("Example:\n  {example}")),
        None => command,
    }
}

/// The command line as it was given, but that the `--` of `schedule add .. -- WORKFLOW [options]` only separates:
/// options of the submission may stand behind it.
pub fn plain(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut line: Vec<OsString> = given.collect();
    let is_add = line.windows(2).any(|pair| pair[0] == "schedule" && pair[1] == "add");
    if let Some(at) = line.iter().position(|word| word == "--").filter(|_| is_add) {
        line.remove(at);
    }
    line
}

/// One verb.
#[derive(Debug)]
struct Verb {
    path: String,
    arguments: String,
    about: String,
    is_hidden: bool,
    is_group: bool,
}

/// Every verb that can be given, in the order of `--help`.
fn verbs() -> Vec<Verb> {
    fn collect(command: &Command, path: &str, is_hidden: bool, into: &mut Vec<Verb>) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let path = if path.is_empty() {
                verb.get_name().to_owned()
            } else {
                format!("{path} {}", verb.get_name())
            };
            let is_hidden = is_hidden || verb.is_hide_set();
            let is_group = verb.is_subcommand_required_set();
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            into.push(Verb { path: path.clone(), arguments: arguments(verb), about, is_hidden, is_group });
            collect(verb, &path, is_hidden, into);
        }
    }
    let mut command = command();
    command.build();
    let mut found = Vec::new();
    collect(&command, "", false, &mut found);
    found
}

/// `RUN.. [--workflow WORKFLOW] [--yes]`; the global options left out.
fn arguments(verb: &Command) -> String {
    let own = verb.get_arguments().filter(|arg| {
        !arg.is_global_set() && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
    });
    let (positional, options): (Vec<_>, Vec<_>) = own.partition(|arg| arg.is_positional());
    let mut words = Vec::new();
    for arg in positional.into_iter().chain(options) {
        let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let value = value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase());
        let takes_value = arg.get_action().takes_values();
        let many = if matches!(arg.get_action(), ArgAction::Append) { ".." } else { "" };
        let word = match arg.get_long() {
            Some(long) if takes_value => format!("--{long} {value}"),
            Some(long) => format!("--{long}"),
            None => value,
        };
        words.push(if arg.is_required_set() { format!("{word}{many}") } else { format!("[{word}]{many}") });
    }
    words.join(" ")
}

fn example(path: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(verb, _)| *verb == path).map(|(_, example)| *example)
}

/// The table of docs/client.md.
#[cfg(test)]
fn table() -> String {
    let mut text = String::from("| verb | what it does | example |\n|---|---|---|\n");
    for verb in verbs().iter().filter(|verb| !verb.is_hidden && !verb.is_group) {
        let call = format!("{} {}", verb.path, verb.arguments).trim_end().replace('|', "\\|");
        let example = example(&verb.path).unwrap_or_default().replace('|', "\\|");
        text.push_str(&format!("| `{call}` | {} | `{example}` |\n", verb.about));
    }
    text
}

/// `verbs`: all of them, also the hidden ones.
pub fn print(context: &Context) -> Outcome {
    let rows: Vec<Value> = verbs()
        .iter()
        .map(|verb| {
            json!({
                "verb": verb.path, "arguments": verb.arguments, "about": verb.about,
                "example": example(&verb.path), "hidden": verb.is_hidden, "group": verb.is_group,
            })
        })
        .collect();
    context.output.data(&json!({ "verbs": rows }));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    const BEGIN: &str = "<!-- verbs: begin -->\n";
    const END: &str = "<!-- verbs: end -->";

    #[test]
    fn the_table_of_the_clients_page_is_that_of_the_program() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/client.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the page marks where its table begins");
        let (written, after) = rest.split_once(END).expect("the page marks where its table ends");
        let expected = table();
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
            return;
        }
        assert_eq!(
            written, expected,
            "make it anew: WRITE_DOCS=1 cargo test --bin executingctl the_table_of"
        );
    }

    #[test]
    fn every_verb_has_an_example_that_the_command_line_takes_and_none_is_of_a_verb_that_is_gone() {
        let known = verbs();
        for verb in &known {
            let example = example(&verb.path).unwrap_or_else(|| panic!("`{}` has no example", verb.path));
            for call in example.split("; ") {
                let call = call.split(" > ").next().unwrap();
                assert!(verb.is_group || call.starts_with(&format!("executingctl {}", verb.path)), "{call}");
                let mut quoted = false;
                let words: Vec<OsString> = call
                    .split(|c| {
                        quoted ^= c == '\'';
                        c == ' ' && !quoted
                    })
                    .map(|word| word.replace('\'', "").into())
                    .collect();
                let matches = command().try_get_matches_from(plain(words.into_iter()));
                let matches = matches.unwrap_or_else(|error| panic!("{call}: {error}"));
                Cli::from_arg_matches(&matches).unwrap();
            }
        }
        for (i, (path, _)) in EXAMPLES.iter().enumerate() {
            assert!(!EXAMPLES[..i].iter().any(|(before, _)| before == path), "`{path}` has two examples");
            assert!(known.iter().any(|verb| verb.path == *path), "there is no verb `{path}`");
        }
    }

    #[test]
    fn the_help_of_every_verb_ends_with_its_example() {
        fn look(command: &mut Command) {
            for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
                let help = verb.render_help().to_string();
                assert!(help.contains("Example:\n  executingctl "), "{help}");
                look(verb);
            }
        }
        look(&mut command());
    }

    #[test]
    fn two_dashes_separate_the_workflow_of_a_schedule_from_its_options_on_either_side() {
        let line = |text: &str| plain(text.split(' ').map(OsString::from));
        let separated = line("executingctl schedule add n --cron @daily -- w --set a=b");
        assert!(!separated.iter().any(|word| word == "--"));
        assert!(line("executingctl submit -- w").iter().any(|word| word == "--"));
    }
}
