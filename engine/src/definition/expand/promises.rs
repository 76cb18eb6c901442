//! Which flat stage makes the outputs that a written stage promises.

use super::draft::{Draft, add_kind};
use crate::definition::document::Stage;
use crate::definition::spec::StageKind;
use crate::definition::table;
use crate::definition::walk::{Placed, Problems, did_you_mean};

/// Gives each promised output to the last stage of the group that can make it.
pub(super) fn promise_outputs(
    stage: &Stage,
    is_sub_workflow: bool,
    group: &mut Vec<Draft>,
    problems: &mut Problems,
) {
    let may_grow = !stage.tasks.is_empty() && stage.kind.is_none();
    for output in &stage.outputs {
        let name = &output.text;
        if group.len() == 1 && group[0].kind == StageKind::Exec && !is_sub_workflow {
            promise(&mut group[0], name, output, problems);
            continue;
        }
        let at = group.iter().rposition(|draft| draft.makes(name)).or_else(|| {
            // Only what changes nothing outside may come in through a promise.
            let kind = table::maker_of(name).filter(|&kind| may_grow && !table::kind(kind).has_undo)?;
            (kind != StageKind::Exec).then(|| add_kind(group, &stage.name, kind))
        });
        match at {
            Some(at) => {
                if !group[at].outputs.contains(name) {
                    group[at].outputs.push(name.clone());
                }
            }
            None => {
                let own: Vec<_> =
                    group.iter().flat_map(|draft| table::kind(draft.kind).artefacts).copied().collect();
                let help = did_you_mean(name, own.iter().copied()).unwrap_or_else(|| match own.is_empty() {
                    true => "it makes no artefacts".into(),
                    false => format!("it can make {}", own.join(", ")),
                });
                problems.add(output.at, "EX-0120", format!("`{}` cannot make `{name}`", stage.name), help);
            }
        }
    }
}

/// An `exec` stage names its own outputs: plain file names, since they become artefact names.
fn promise(draft: &mut Draft, name: &str, output: &Placed, problems: &mut Problems) {
    let is_plain = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !is_plain {
        problems.add(
            output.at,
            "EX-0113",
            format!("{name:?} cannot name an artefact"),
            "use letters, digits, `.`, `-`, `_`",
        );
    } else if !draft.outputs.iter().any(|known| known == name) {
        draft.outputs.push(name.into());
    }
}
