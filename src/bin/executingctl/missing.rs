//! Files and workflows that are not there, with the help that fits each.
//!
//! Rule: whoever names what is not there is told where it was looked for and what there is. Absent: inputs that a
//! workflow needs and nobody named; the daemon knows those.

use crate::context::refusal;
use engine::definition::Problem;
use engine::definition::walk::did_you_mean;
use engine::protocol::ErrorReply;
use std::io;
use std::path::Path;

/// Code of everything here.
pub const CODE: &str = "EX-0015";

/// One problem with `path`, which is the whole refusal.
pub fn about(path: &Path, exit: u8, message: String, help: String) -> ErrorReply {
    let problems = vec![problem(path, message.clone(), help)];
    ErrorReply { problems, ..refusal(CODE, exit, message) }
}

/// A problem with `path` as a whole.
pub fn problem(path: &Path, message: String, help: String) -> Problem {
    Problem { code: CODE.to_owned(), file: path.display().to_string(), line: 0, column: 0, message, help }
}

/// Where a file was looked for and what was found there.
pub fn looked_at(path: &Path) -> String {
    let found = if path.is_dir() { "that is a directory" } else { "nothing is there" };
    match std::env::current_dir() {
        Ok(directory) => format!(
            "looked at {}: {found}; the working directory is {}",
            directory.join(path).display(),
            directory.display()
        ),
        Err(error) => {
            format!("looked at {}: {found}; there is no working directory any more ({error})", path.display())
        }
    }
}

/// `name` is neither a file nor one of the workflows in `known`.
pub fn workflow(name: &Path, known: &[&str]) -> ErrorReply {
    let given = name.display().to_string();
    let message = format!("there is no file {given}, and no workflow of that name comes with the program");
    let nearest = did_you_mean(&given, known.iter().copied()).map(|words| format!("{words} "));
    let help = format!(
        "{}the workflows are {}; for a file, {}",
        nearest.unwrap_or_default(),
        known.join(", "),
        looked_at(name)
    );
    about(name, 8, message, help)
}

/// `path` is there, but cannot be read as text.
pub fn unreadable(path: &Path, error: &io::Error) -> ErrorReply {
    let help = match error.kind() {
        io::ErrorKind::NotFound => looked_at(path),
        io::ErrorKind::InvalidData => "it is not UTF-8 text; is it the file that was meant?".to_owned(),
        io::ErrorKind::PermissionDenied => "let the user who calls read it".to_owned(),
        _ => "read it with another program first".to_owned(),
    };
    about(path, 8, format!("the file {} cannot be read as text: {error}", path.display()), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 2] = ["full-optimization", "feasible-enumeration"];

    fn help(reply: &ErrorReply) -> &str {
        &reply.problems[0].help
    }

    #[test]
    fn an_unknown_workflow_is_told_with_all_there_are_and_the_nearest_name_if_one_is_near() {
        let near = workflow(Path::new("full-optimisation"), &KNOWN);
        assert_eq!((near.code.as_str(), near.exit), (CODE, 8));
        assert!(help(&near).starts_with("did you mean `full-optimization`?"), "{near:?}");
        assert!(KNOWN.iter().all(|name| help(&near).contains(name)), "{near:?}");
        let far = workflow(Path::new("no/such.yaml"), &KNOWN);
        assert!(!help(&far).contains("did you mean"), "{far:?}");
        assert!(KNOWN.iter().all(|name| help(&far).contains(name)), "{far:?}");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_with_the_whole_path_and_the_working_directory() {
        let directory = std::env::current_dir().unwrap();
        let words = looked_at(Path::new("no/such.yaml"));
        assert!(words.contains(&format!("{}: nothing", directory.join("no/such.yaml").display())), "{words}");
        assert!(words.ends_with(&format!("the working directory is {}", directory.display())), "{words}");
        let absolute = looked_at(Path::new("/no/such.yaml"));
        assert!(absolute.starts_with("looked at /no/such.yaml: nothing"), "{absolute}");
        assert!(looked_at(&directory).contains("that is a directory"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_the_reason_and_not_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("noise.yaml");
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        let error = std::fs::read_to_string(&file).unwrap_err();
        let reply = unreadable(&file, &error);
        assert!(help(&reply).contains("UTF-8") && !help(&reply).contains("nothing is there"), "{reply:?}");
    }
}
