//! `submit`: checks the workflow and its inputs, uploads the inputs, starts the run.
//!
//! Rule: nothing is sent before everything that can be checked here was checked.

use crate::args::{self, Submit};
use crate::bar::Bar;
use crate::context::{Context, Outcome, refusal};
use crate::inputs::{self, Content, INPUT_NAMES};
use crate::{missing, output, watch};
use engine::definition::{self, LoadRequest, Loaded};
use engine::protocol::{ErrorReply, Request, Submission};
use executing::control::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A checked submission, before its inputs have digests.
#[derive(Debug)]
struct Prepared {
    submission: Submission,
    files: BTreeMap<String, PathBuf>,
    warnings: Vec<definition::Problem>,
}

/// Checks what is to be submitted and uploads its inputs; what is left is to ask for it.
pub async fn ready(context: &Context, args: &args::Submission) -> Result<(Client, Submission), ErrorReply> {
    let Prepared { mut submission, files, warnings } = prepare(args)?;
    let contents = inputs::collect(&files)?;
    warnings.iter().for_each(output::warning);
    let mut client = context.client().await?;
    for (name, content) in &contents {
        let digest = match content {
            Content::File(path) => upload(&mut client, name, path).await?,
            Content::Text(text) => client.upload_bytes(text.as_bytes()).await?,
        };
        submission.inputs.insert(name.clone(), digest);
    }
    Ok((client, submission))
}

/// Uploads a file; one that takes longer than a second shows how far it is.
async fn upload(client: &mut Client, name: &str, path: &Path) -> Result<String, ErrorReply> {
    let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    let mut bar = Bar::of_bytes(bytes);
    bar.name(name);
    let uploaded = client.upload_with(path, &mut |sent| bar.set(sent)).await;
    bar.finish();
    Ok(uploaded?)
}

pub async fn submit(context: &Context, args: &Submit) -> Outcome {
    let (mut client, mut submission) = ready(context, &args.submission).await?;
    submission.key = args.key.clone();
    submission.deadline = args.deadline.clone();
    let answer = client.request(&Request::Submit(submission)).await?;
    drop(client);
    if !args.wait {
        context.output.data(&answer);
        return Ok(0);
    }
    let run = answer.get("run").and_then(Value::as_str).unwrap_or_default();
    watch::until_the_end(context, run).await
}

fn prepare(args: &args::Submission) -> Result<Prepared, ErrorReply> {
    let library = executing::catalog::library();
    let is_builtin = !args.file.exists() && args.file.to_str().is_some_and(|n| library.text(n).is_some());
    let file = args.file.display().to_string();
    if !args.file.is_file() && !is_builtin {
        let names: Vec<_> = library.names().collect();
        return Err(missing::workflow(&args.file, &names));
    }
    let yaml = if is_builtin { None } else { Some(inputs::read_text(&args.file)?) };
    // Which names are inputs may depend on the workflow, and the workflow is checked with its parameters;
    // so it is read once without them.
    let load = |params: &BTreeMap<String, Value>| match &yaml {
        None => definition::load_builtin(&file, &library, params),
        Some(text) => definition::load(LoadRequest {
            text,
            file: &file,
            workflow: args.workflow.as_deref(),
            library: &library,
            params,
        }),
    };
    let plain = load(&BTreeMap::new());
    let own: BTreeMap<String, String> =
        plain.as_ref().map(|loaded| loaded.definition.inputs.clone()).unwrap_or_default();
    let directory = args.file.parent().unwrap_or(Path::new(""));
    let mut files: BTreeMap<String, PathBuf> =
        own.iter().map(|(name, path)| (name.clone(), directory.join(path))).collect();
    let mut params = BTreeMap::new();
    for (key, value) in &args.set {
        if INPUT_NAMES.contains(&key.as_str()) || own.contains_key(key) {
            files.insert(key.clone(), PathBuf::from(value));
        } else {
            params.insert(key.clone(), parameter(value));
        }
    }
    let Loaded { warnings, .. } = load(&params).map_err(|problems| {
        let code = problems.first().map_or("EX-0101", |problem| problem.code.as_str()).to_owned();
        ErrorReply { problems: problems.clone(), ..refusal(&code, 8, inputs::summary(&problems)) }
    })?;
    let workflow = if is_builtin { Some(file.clone()) } else { args.workflow.clone() };
    let submission = Submission { yaml, file, workflow, params, ..Submission::default() };
    Ok(Prepared { submission, files, warnings })
}

/// JSON where it is JSON, else the text itself.
pub fn parameter(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(file: &Path, set: &[(&str, &str)]) -> args::Submission {
        let set = set.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        args::Submission { file: file.to_owned(), workflow: None, set }
    }

    #[test]
    fn a_value_is_json_if_it_can_be_and_text_if_not() {
        assert_eq!(parameter("7"), Value::from(7));
        assert_eq!(parameter("[1, 2]"), serde_json::json!([1, 2]));
        assert_eq!(parameter("quick"), Value::from("quick"));
        assert_eq!(parameter("\"7\""), Value::from("7"));
    }

    #[test]
    fn names_of_inputs_are_files_and_all_others_are_parameters() {
        let prepared =
            prepare(&args(Path::new("full-optimization"), &[("space", "s.yaml"), ("seed", "7")])).unwrap();
        assert_eq!(prepared.files, BTreeMap::from([("space".into(), PathBuf::from("s.yaml"))]));
        assert_eq!(prepared.submission.params, BTreeMap::from([("seed".into(), Value::from(7))]));
        assert_eq!(prepared.submission.yaml, None);
        assert_eq!(prepared.submission.workflow.as_deref(), Some("full-optimization"));
    }

    #[test]
    fn inputs_of_a_workflow_file_are_beside_it_and_set_wins_over_them() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("w.yaml");
        let text =
            "workflow: w\ninputs: {space: space.yaml, costs: sub/costs.yaml}\nstages:\n  - initialization\n";
        std::fs::write(&file, text).unwrap();
        let prepared = prepare(&args(&file, &[("space", "mine.yaml")])).unwrap();
        assert_eq!(prepared.files["space"], PathBuf::from("mine.yaml"));
        assert_eq!(prepared.files["costs"], directory.path().join("sub/costs.yaml"));
        assert_eq!(prepared.submission.yaml.as_deref(), Some(text));
    }

    #[test]
    fn a_workflow_that_is_not_there_is_invalid_input_that_names_the_path() {
        let error = prepare(&args(Path::new("no/such.yaml"), &[])).unwrap_err();
        assert_eq!((error.code.as_str(), error.exit), ("EX-0015", 8));
        assert!(error.message.contains("no/such.yaml"), "{}", error.message);
    }

    #[test]
    fn a_wrong_workflow_gives_all_its_problems() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("w.yaml");
        std::fs::write(&file, "workflow: w\nstages:\n  - nonsense-one\n  - nonsense-two\n").unwrap();
        let error = prepare(&args(&file, &[])).unwrap_err();
        assert_eq!((error.exit, error.problems.len()), (8, 2), "{error:?}");
    }
}
