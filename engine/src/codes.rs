//! Every error code of the engine: what it means and what to do about it.
//!
//! Rule: a code, once given out, never changes its meaning. 0001 to 0099 control and client, 0100 to
//! 0149 definitions, 0500 to 0599 stages and workers. Start at [`lookup`].

/// One code. All texts are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `EX-` and four digits.
    pub code: &'static str,
    pub title: &'static str,
    pub meaning: &'static str,
    pub remedy: &'static str,
}

const fn code(code: &'static str, title: &'static str, meaning: &'static str, remedy: &'static str) -> Code {
    Code { code, title, meaning, remedy }
}

/// The entry of a code such as `EX-0101`.
pub fn lookup(code: &str) -> Option<&'static Code> {
    CODES.binary_search_by(|known| known.code.cmp(code)).ok().map(|at| &CODES[at])
}

/// All codes, ascending.
pub const CODES: &[Code] = &[
    code(
        "EX-0001",
        "daemon unreachable",
        "No daemon answers at the control socket or host.",
        "Start executingd, or name its socket with --socket or EXECUTING_SOCKET.",
    ),
    code(
        "EX-0002",
        "usage",
        "The command line does not fit the program.",
        "Read what --help says for this verb.",
    ),
    code("EX-0003", "run not found", "No run has this id.", "List the runs with `executingctl list`."),
    code(
        "EX-0004",
        "denied",
        "The role of the caller does not allow this.",
        "Ask somebody whose role does, or have the role granted in the settings.",
    ),
    code(
        "EX-0005",
        "conflict",
        "What was asked for contradicts what is already so.",
        "Look at the run with `executingctl show`, then decide again.",
    ),
    code(
        "EX-0006",
        "protocol version",
        "Client and daemon do not speak a common version of the protocol.",
        "Install client and daemon of the same release.",
    ),
    code(
        "EX-0007",
        "frame too large",
        "A message is longer than a frame may be.",
        "Upload large content as an input, in chunks, not within a request.",
    ),
    code(
        "EX-0008",
        "garbage on the wire",
        "What arrived is no message of the protocol.",
        "Check that the address is a control socket of executingd.",
    ),
    code(
        "EX-0009",
        "busy",
        "A mailbox or a quota is full and nothing was accepted.",
        "Try again later; `executingctl health` shows the depth of mailboxes.",
    ),
    code(
        "EX-0010",
        "timeout",
        "No answer came within the time allowed; whether the request took effect is not known.",
        "Look at the state first; repeat a submission with the same key.",
    ),
    code(
        "EX-0011",
        "state directory locked",
        "Another daemon holds the lock of the state directory.",
        "Stop the other daemon, or give this one another --state.",
    ),
    code(
        "EX-0012",
        "state directory not writable",
        "The state directory cannot be made or written.",
        "Give the daemon's user the right to write there.",
    ),
    code(
        "EX-0013",
        "disk full",
        "The journal has no room; runs wait and nothing acknowledged is lost.",
        "Free space on the file system of the state directory; work goes on by itself.",
    ),
    code(
        "EX-0014",
        "journal damaged",
        "A record does not fit its checksum or the chain.",
        "Run `executingctl journal verify`, then restore from an export; nothing damaged is served.",
    ),
    code(
        "EX-0015",
        "input missing",
        "A workflow needs an input that was not given.",
        "Give it with --set name=file.",
    ),
    code(
        "EX-0016",
        "artefact not found",
        "The run has no artefact of this name.",
        "`executingctl result RUN` lists the artefacts there are.",
    ),
    code(
        "EX-0017",
        "artefact digest mismatch",
        "The bytes of an artefact do not have the digest that was recorded.",
        "Restore the artefact from a backup, or run the stage again.",
    ),
    code(
        "EX-0018",
        "emergency stop in force",
        "New work is refused until an authorised person clears the stop.",
        "Use `executingctl emergency-clear` once it is safe.",
    ),
    code(
        "EX-0019",
        "stage not found",
        "The run has no stage of this path.",
        "`executingctl show RUN` lists the full paths.",
    ),
    code(
        "EX-0020",
        "not in this phase",
        "The run's phase does not allow what was asked for.",
        "Look at the phase with `executingctl show RUN`.",
    ),
    code(
        "EX-0021",
        "own submission",
        "Nobody may approve what they submitted themselves.",
        "Have another person approve.",
    ),
    code(
        "EX-0022",
        "settings invalid",
        "The settings file has a key, type or range that is wrong.",
        "Run `executingd --check` and mend what it names.",
    ),
    code(
        "EX-0023",
        "key reused",
        "The idempotency key was used before with other content.",
        "Use a new key, or submit exactly the same content.",
    ),
    code(
        "EX-0024",
        "cannot compute again",
        "The run has no stage that only computes, or its second computing did not succeed.",
        "Look at the second run with `show`; a run of deployments or programs alone cannot be reproduced.",
    ),
    code(
        "EX-0040",
        "store of a newer version",
        "The state directory was written by a newer executingd. Nothing was changed.",
        "Start the newer program, or give this one another --state.",
    ),
    code(
        "EX-0041",
        "not a journal",
        "The journal's directory was not written by this program. Nothing was changed.",
        "Name another --state, or move the foreign files away.",
    ),
    code(
        "EX-0042",
        "foreign owner",
        "The journal's files belong to another user. Nothing was changed.",
        "Run the daemon as that user, or give it the files with `chown -R`.",
    ),
    code(
        "EX-0043",
        "read-only file system",
        "The state directory lies on a file system that is mounted read-only. Nothing was changed.",
        "Mount it for writing; `executingctl journal verify|export --state DIR` work as it is.",
    ),
    code(
        "EX-0044",
        "housekeeping refused",
        "Nothing was removed, since it is not certain what must stay, or the journal could not be compacted.",
        "Mend what the message names, look with `executingctl journal verify`, then `executingctl gc` again.",
    ),
    code(
        "EX-0045",
        "target exists",
        "An import or a backup only makes new directories, and this one holds something.",
        "Name a new directory, or move the old one away.",
    ),
    code(
        "EX-0100",
        "definition too large",
        "A workflow file passes a limit on bytes, values, depth or stages.",
        "Split it into several workflows.",
    ),
    code(
        "EX-0101",
        "not YAML",
        "The text cannot be read as YAML.",
        "Check indentation, quotes and brackets at the place named.",
    ),
    code(
        "EX-0102",
        "wrong type",
        "A value has another type than its key asks for.",
        "Write the type that the message names.",
    ),
    code(
        "EX-0103",
        "unknown key",
        "A map has a key that means nothing there.",
        "Correct the spelling or leave the key out; nothing unknown is ignored.",
    ),
    code("EX-0104", "missing field", "A required key is missing.", "Add it."),
    code(
        "EX-0105",
        "given twice",
        "A key stands twice, or a key and its other name both.",
        "Keep one of them.",
    ),
    code(
        "EX-0106",
        "no workflow",
        "The file holds no workflow.",
        "Write `workflow: name` and `stages: [..]`.",
    ),
    code(
        "EX-0107",
        "several workflows",
        "The file holds several workflows and none is chosen.",
        "Choose one with --workflow NAME.",
    ),
    code(
        "EX-0108",
        "unknown workflow",
        "Neither the file nor the program has a workflow of this name.",
        "Take one of the names that the message lists.",
    ),
    code("EX-0109", "workflow twice", "Two workflows of a file have the same name.", "Rename one of them."),
    code("EX-0110", "no stages", "A workflow has an empty list of stages.", "List at least one stage."),
    code(
        "EX-0111",
        "unknown stage kind",
        "A stage's name, kind or type is neither a stage kind nor a workflow.",
        "Take a name of docs/workflow-table.md, or give the stage a `kind`.",
    ),
    code(
        "EX-0112",
        "stage twice",
        "Two stages have the same name or come to the same path.",
        "Rename one and give it a `kind`.",
    ),
    code(
        "EX-0113",
        "bad name",
        "A name has letters or a length that names may not have.",
        "Use letters, digits, `-` and `_`, at most 64, a letter or digit first.",
    ),
    code(
        "EX-0114",
        "unknown dependency",
        "A stage needs a stage that the workflow does not have.",
        "Correct the name; dependencies are stages of the same workflow.",
    ),
    code(
        "EX-0115",
        "circle of dependencies",
        "Stages need each other in a circle, so none could start.",
        "Leave out one of the dependencies named.",
    ),
    code(
        "EX-0116",
        "recursion",
        "A workflow contains itself, directly or through others.",
        "Give the stage a `kind` or another name.",
    ),
    code(
        "EX-0117",
        "nested too deep",
        "Workflows are nested deeper than is allowed.",
        "Flatten some of them.",
    ),
    code(
        "EX-0119",
        "unknown task",
        "A task is not in the table, or belongs to another kind than the stage's.",
        "Take a task of docs/workflow-table.md.",
    ),
    code(
        "EX-0120",
        "impossible output",
        "A stage promises an artefact that its kinds cannot make.",
        "Take an artefact of docs/workflow-table.md.",
    ),
    code(
        "EX-0121",
        "input made by no stage",
        "Warning: no earlier stage makes what a stage names as input.",
        "Give it as an input of the run, or add the stage that makes it.",
    ),
    code(
        "EX-0122",
        "bad duration",
        "A text is not a duration, or is shorter than 1 ms or longer than 365 days.",
        "Write `500ms`, `30s`, `5m`, `2h`, or seconds as a number.",
    ),
    code(
        "EX-0123",
        "out of range",
        "A number or size is outside its range.",
        "Keep to the range that the message names.",
    ),
    code("EX-0124", "bad predicate", "A predicate is not CEL.", "Mend it at the character named."),
    code(
        "EX-0125",
        "unknown priority",
        "A priority is none of the known words or numbers.",
        "Write critical, high, medium, low, or 0 to 255.",
    ),
    code(
        "EX-0126",
        "field of another kind",
        "A field is used on a stage whose kind does not know it.",
        "Move it to an `exec` stage or leave it out.",
    ),
    code(
        "EX-0127",
        "unknown stage in --set",
        "A parameter is set for a stage that the workflow does not have.",
        "Take a path that the message lists.",
    ),
    code(
        "EX-0128",
        "ambiguous stage in --set",
        "The stage name of a parameter fits several stages.",
        "Write the whole path.",
    ),
    code(
        "EX-0130",
        "time limit of a group",
        "Warning: a limit on a stage that becomes several holds for each, not for their sum.",
        "State limits within the sub-workflow if that matters.",
    ),
    code(
        "EX-0132",
        "gate before several stages",
        "A gate stands before a group that begins with several stages.",
        "Put a stage of kind `approval` before it.",
    ),
    code(
        "EX-0134",
        "stored definition unreadable",
        "The definition kept with a run cannot be read back.",
        "Run `executingctl journal verify`; use the release that wrote it.",
    ),
    code(
        "EX-0501",
        "worker crashed",
        "A solver worker ended by a signal or a panic.",
        "Nothing, if attempts remain; else read the worker's last words in the event.",
    ),
    code(
        "EX-0502",
        "worker hung",
        "No heartbeat came for two intervals, and the worker was killed.",
        "Raise heartbeat_ms in the daemon's settings if the machine is overloaded.",
    ),
    code(
        "EX-0503",
        "worker garbage",
        "A worker sent what is no message of its protocol.",
        "Check that executing-worker is of the daemon's release.",
    ),
    code(
        "EX-0504",
        "worker left without result",
        "A worker ended normally and gave no result.",
        "Read its last words in the event; report it if it repeats.",
    ),
    code(
        "EX-0505",
        "attempt took too long",
        "An attempt passed timeout.start_to_close and was killed.",
        "Raise the limit, or make the problem smaller.",
    ),
    code(
        "EX-0506",
        "out of memory",
        "A worker passed its memory limit or was killed for memory.",
        "Raise resources.memory, or limit the enumeration.",
    ),
    code(
        "EX-0507",
        "no resource fits",
        "No machine or backend can ever meet what the stage asks for.",
        "Lower the demand, or add capacity.",
    ),
    code(
        "EX-0508",
        "no room in time",
        "The stage waited longer for a resource than its schedule_to_start allows.",
        "Raise timeout.schedule_to_start, or look with `resources` and `explain RUN` at who holds what.",
    ),
    code(
        "EX-0510",
        "input missing",
        "A stage's input or artefact is not there.",
        "Give the input, or run the stage that makes it.",
    ),
    code(
        "EX-0511",
        "input invalid",
        "A stage's input has an error, named with file and line.",
        "Mend the file and submit again.",
    ),
    code(
        "EX-0512",
        "problem infeasible",
        "No design meets all hard constraints; a minimal conflicting set is named.",
        "Relax one constraint of that set.",
    ),
    code(
        "EX-0513",
        "re-check failed",
        "The independent check disagrees with the search.",
        "Do not use the result; report it with the run's export.",
    ),
    code(
        "EX-0514",
        "QAOA failed",
        "The quantum stage failed on every backend and fallback allowed.",
        "Look at `executingctl backends`; allow a fallback.",
    ),
    code(
        "EX-0515",
        "validation failed",
        "The chosen design breaks a hard constraint.",
        "Read validation_report.json; do not deploy.",
    ),
    code(
        "EX-0516",
        "success criterion not met",
        "A success criterion of the workflow is false or not evaluated.",
        "Read which in the event, and the facts beside it.",
    ),
    code(
        "EX-0517",
        "certification not evaluated",
        "A certification predicate could not be evaluated, and no waiver covers it.",
        "Supply the figures, or a named waiver with reason and expiry.",
    ),
    code(
        "EX-0518",
        "condition not evaluable",
        "The stage's `when` names a fact that no earlier stage left.",
        "Name a fact of a stage that it needs; `show RUN -o json` lists the facts there are.",
    ),
    code(
        "EX-0519",
        "expectation not met",
        "A `check` stage expected something that does not hold, or that no stage before it stated.",
        "Read which in the event; `show RUN -o json` lists the facts there are.",
    ),
    code(
        "EX-0520",
        "deployment check failed",
        "A staged release did not pass its checks; the active one was not touched.",
        "Read deployment_manifest.json and mend what it names.",
    ),
    code(
        "EX-0521",
        "activation failed",
        "A release could not be activated or verified; the one before was restored.",
        "Check the target; then deploy again.",
    ),
    code(
        "EX-0522",
        "nothing to roll back to",
        "There is no earlier release that is whole.",
        "Deploy a good release instead.",
    ),
    code(
        "EX-0523",
        "list too long",
        "There are more designs than can be listed or written; the exact count and the bytes are named.",
        "Count, rank or sample them, or take the first K with --limit K.",
    ),
    code(
        "EX-0530",
        "program failed",
        "The program of an exec stage ended with an error.",
        "Read stdout.txt and the exit code in the event.",
    ),
    code(
        "EX-0531",
        "program in doubt",
        "It is not known whether an exec stage took effect, and it is not idempotent.",
        "Look at what it did, then `retry` or `cancel`.",
    ),
    code("EX-0540", "rejected at a gate", "A person said no.", "Read the reason in the event."),
    code(
        "EX-0541",
        "gate deadline passed",
        "Nobody answered at a gate in time, which counts as no.",
        "Submit again and have the approvers told.",
    ),
    code("EX-0590", "cancelled", "The run was cancelled.", "Nothing; submit again if that was a mistake."),
];
