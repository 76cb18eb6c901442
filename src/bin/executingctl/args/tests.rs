//! What the command line takes and refuses.

use super::values::{Tuning, tuning};
use super::{Cli, Format, Verb};
use clap::{CommandFactory, Parser};
use std::time::Duration;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_stand_on_either_side_of_the_verb() {
    for line in [
        "executingctl --socket /s -o json --as ada --timeout 2.5 list --limit 3",
        "executingctl list --limit 3 --socket /s -o json --as ada --timeout 2.5",
        "executingctl --socket /s --as ada list -o json --limit 3 --timeout 2.5",
        "executingctl -o json journal verify --socket /s --timeout 2.5 --as ada",
    ] {
        let cli = parse(line).unwrap();
        assert_eq!(cli.global.socket.as_deref(), Some(std::path::Path::new("/s")), "{line}");
        assert_eq!(cli.global.output, Format::Json, "{line}");
        assert_eq!(cli.global.principal.as_deref(), Some("ada"), "{line}");
        assert_eq!(cli.global.timeout, Some(Duration::from_millis(2500)), "{line}");
    }
}

#[test]
fn a_value_may_hold_further_equals_signs_and_a_name_may_not_be_empty() {
    let Verb::Submit(submit) = parse("executingctl submit w --set a.b=c=d --set seed=7").unwrap().verb else {
        panic!("another verb")
    };
    assert_eq!(submit.submission.set, [("a.b".into(), "c=d".into()), ("seed".into(), "7".into())]);
    assert!(parse("executingctl submit w --set =1").is_err());
    assert!(parse("executingctl submit w --set seed").is_err());
}

#[test]
fn runs_are_named_or_matched_and_never_neither_or_both() {
    for verb in ["pause", "resume", "cancel", "retry", "dead retry"] {
        for right in ["run-1", "run-1 run-2", "--all", "--phase failed --user ada", "--older-than 7d --yes"] {
            assert!(parse(&format!("executingctl {verb} {right}")).is_ok(), "{verb} {right}");
        }
        for wrong in ["", "--yes", "--dry-run", "run-1 --all", "run-1 --phase failed", "--older-than soon"] {
            assert!(parse(&format!("executingctl {verb} {wrong}")).is_err(), "{verb} {wrong}");
        }
    }
    assert!(parse("executingctl retry run-1 --from a/b").is_ok());
    assert!(parse("executingctl retry --all --from a/b").is_err());
}

#[test]
fn a_tuning_names_stage_and_parameter() {
    let expected =
        Tuning { stage: "risk/qaoa-optimization".into(), parameter: "layers".into(), value: "4.5".into() };
    assert_eq!(tuning("risk/qaoa-optimization.layers=4.5"), Ok(expected));
    assert!(tuning("layers=4").is_err());
    assert!(tuning("stage.=4").is_err());
}

#[test]
fn a_time_limit_is_positive() {
    assert!(parse("executingctl --timeout 0 list").is_err());
    assert!(parse("executingctl --timeout -1 list").is_err());
    assert!(parse("executingctl --timeout nan list").is_err());
}
