//! Completion scripts and man pages, from the command line's own definition.
//!
//! Rule: what the parser knows is completed and described, and nothing else; a new verb needs no change here.

use crate::args::Shell;
use crate::context::{Outcome, refusal};
use crate::verbs::command as whole;
use clap::Command;
use std::io::{self, Write};
use std::path::Path;

/// Writes the script for `shell` to stdout.
pub fn print(shell: Shell) -> Outcome {
    written(io::stdout().lock().write_all(&script(shell)), "the script")
}

fn script(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut whole(), "executingctl", &mut script);
    script
}

/// Writes the page of the program to stdout, or one page per verb into `directory`.
pub fn man(directory: Option<&Path>) -> Outcome {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        let made = clap_mangen::Man::new(whole()).render(&mut page);
        return written(made.and_then(|()| io::stdout().lock().write_all(&page)), "the page");
    };
    let shown = directory.display().to_string();
    let made = std::fs::create_dir_all(directory).and_then(|()| {
        for (name, page) in pages()? {
            std::fs::write(directory.join(name), page)?;
        }
        Ok(())
    });
    written(made, &shown)
}

/// Every page: file name and text. Verbs of drills have none.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone().name(name.to_owned())).render(&mut page)?;
        pages.push((format!("{name}.1"), page));
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
        {
            collect(verb, &format!("{name}-{}", verb.get_name()), pages)?;
        }
        Ok(())
    }
    let mut command = whole();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "executingctl", &mut pages)?;
    Ok(pages)
}

fn written(result: io::Result<()>, what: &str) -> Outcome {
    match result {
        Ok(()) => Ok(0),
        // Whoever reads through `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(refusal("EX-0013", 75, format!("{what} could not be written: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command as Process;

    /// What bash offers for a line whose last word is being written.
    fn offered(words: &[&str]) -> Option<Vec<String>> {
        let line: String = words.iter().map(|word| format!(" '{word}'")).collect();
        let before = if words.len() > 1 { words[words.len() - 2] } else { "executingctl" };
        let script = format!(
            "{}\nCOMP_WORDS=(executingctl{line}); COMP_CWORD={}; _executingctl executingctl '{}' '{before}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            String::from_utf8(script(Shell::Bash)).unwrap(),
            words.len(),
            words[words.len() - 1],
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
        assert!(offered(&["list", "--output", "y"]).unwrap().contains(&"yaml".to_owned()));
        assert_eq!(offered(&["submit", "--wa"]).unwrap(), ["--wait"]);
        assert_eq!(offered(&["journal", "ver"]).unwrap(), ["verify"]);
    }

    #[test]
    fn every_script_and_every_page_knows_every_verb() {
        let command = whole();
        let verbs: Vec<_> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).collect();
        let pages = pages().unwrap();
        for verb in verbs {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let text = String::from_utf8(script(shell)).unwrap();
                assert!(text.contains(verb.get_name()), "{shell:?} does not know {}", verb.get_name());
            }
            let name = format!("executingctl-{}.1", verb.get_name());
            let page = pages.iter().find(|(found, _)| *found == name);
            let text = String::from_utf8_lossy(&page.unwrap_or_else(|| panic!("{name} is missing")).1);
            assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH DESCRIPTION"), "{text}");
            assert!(verb.get_about().is_some(), "{} does not say what it does", verb.get_name());
        }
    }
}
