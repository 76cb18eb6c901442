//! Completion scripts for shells, from the command line's own definition.
//!
//! Rule: what the parser knows is completed, and nothing else; a new verb needs no change here.

use crate::args::{Cli, Shell};
use crate::output;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write as _;

/// Writes the script for `shell` to stdout.
pub fn print(shell: Shell) {
    let mut command = Cli::command();
    command.build();
    output::line(script(&command, shell).trim_end());
}

fn script(command: &Command, shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(command),
        // zsh reads the completions of bash through a module of its own.
        Shell::Zsh => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(command)),
        Shell::Fish => fish(command),
    }
}

fn bash(command: &Command) -> String {
    let name = command.get_name();
    let verbs = verbs(command);
    let names: Vec<_> = verbs.iter().map(|verb| verb.get_name()).collect();
    let mut text = format!(
        "_{name}() {{\n    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb= i\n"
    );
    text += "    case $before in\n";
    for arg in options(command) {
        let values: Vec<_> = arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
        if !values.is_empty() && arg.get_action().takes_values() {
            let _ = writeln!(
                text,
                "        {}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return;;",
                flags(arg).join("|"),
                values.join(" ")
            );
        }
    }
    let _ = writeln!(text, "    esac\n    for ((i = 1; i < COMP_CWORD; i++)); do");
    let _ = writeln!(
        text,
        "        case ${{COMP_WORDS[i]}} in {}) verb=${{COMP_WORDS[i]}}; break;; esac",
        names.join("|")
    );
    text += "    done\n    case $verb in\n";
    let _ = writeln!(
        text,
        "        '') COMPREPLY=($(compgen -W '{} {}' -- \"$word\"));;",
        names.join(" "),
        all_flags(command)
    );
    for verb in &verbs {
        let words = format!("{} {}", all_flags(verb), values_of(verb).join(" "));
        let _ = writeln!(
            text,
            "        {}) COMPREPLY=($(compgen -W '{}' -- \"$word\") $(compgen -f -- \"$word\"));;",
            verb.get_name(),
            words.trim()
        );
    }
    let _ = write!(text, "    esac\n}}\ncomplete -o filenames -F _{name} {name}\n");
    text
}

fn fish(command: &Command) -> String {
    let name = command.get_name();
    let mut text = String::new();
    for verb in verbs(command) {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default().replace('\'', "\\'");
        let _ = writeln!(
            text,
            "complete -c {name} -n __fish_use_subcommand -f -a {} -d '{about}'",
            verb.get_name()
        );
        let seen = format!("'__fish_seen_subcommand_from {}'", verb.get_name());
        for value in values_of(verb) {
            let _ = writeln!(text, "complete -c {name} -n {seen} -f -a {value}");
        }
        for arg in options(verb).filter(|arg| !arg.is_global_set()) {
            let _ = writeln!(text, "complete -c {name} -n {seen}{}", fish_option(arg));
        }
    }
    for arg in options(command) {
        let _ = writeln!(text, "complete -c {name}{}", fish_option(arg));
    }
    text
}

fn fish_option(arg: &Arg) -> String {
    let mut text = String::new();
    if let Some(short) = arg.get_short() {
        let _ = write!(text, " -s {short}");
    }
    if let Some(long) = arg.get_long() {
        let _ = write!(text, " -l {long}");
    }
    if arg.get_action().takes_values() {
        text += " -r";
        let values: Vec<_> = arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
        if !values.is_empty() {
            let _ = write!(text, " -f -a '{}'", values.join(" "));
        }
    }
    text
}

fn verbs(command: &Command) -> Vec<&Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).collect()
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set())
}

fn flags(arg: &Arg) -> Vec<String> {
    let long = arg.get_long().map(|long| format!("--{long}"));
    long.into_iter().chain(arg.get_short().map(|short| format!("-{short}"))).collect()
}

fn all_flags(command: &Command) -> String {
    options(command).flat_map(flags).collect::<Vec<_>>().join(" ")
}

/// Words that may follow a verb: verbs of its own, or the values of its arguments.
fn values_of(verb: &Command) -> Vec<String> {
    let own = verbs(verb).into_iter().map(|verb| verb.get_name().to_owned());
    let arguments = verb.get_arguments().filter(|arg| arg.is_positional());
    let values = arguments.flat_map(Arg::get_possible_values).map(|value| value.get_name().to_owned());
    own.chain(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command as Process;

    fn built() -> Command {
        let mut command = Cli::command();
        command.build();
        command
    }

    /// What bash offers for a line whose last word is being written.
    fn offered(words: &[&str]) -> Option<Vec<String>> {
        let line: String = words.iter().map(|word| format!(" '{word}'")).collect();
        let script = format!(
            "{}\nCOMP_WORDS=(executingctl{line}); COMP_CWORD={}; _executingctl; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script(&built(), Shell::Bash),
            words.len()
        );
        let output = Process::new("bash").args(["--norc", "-c", &script]).output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    #[test]
    fn bash_completes_verbs_options_and_values() {
        let Some(verbs) = offered(&["em"]) else {
            println!("skipped: there is no bash");
            return;
        };
        assert_eq!(verbs, ["emergency-stop", "emergency-clear"]);
        assert_eq!(offered(&["-o", "y"]).unwrap(), ["yaml"]);
        assert_eq!(offered(&["-o", "json", "submit", "--wa"]).unwrap(), ["--wait"]);
        assert_eq!(offered(&["journal", "ver"]).unwrap(), ["verify"]);
        assert!(offered(&["inj"]).unwrap().iter().all(String::is_empty), "a hidden verb is offered");
    }

    #[test]
    fn every_script_knows_every_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(&built(), shell);
            for verb in verbs(&built()) {
                assert!(text.contains(verb.get_name()), "{shell:?} does not know {}", verb.get_name());
            }
        }
    }
}
