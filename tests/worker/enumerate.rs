//! `enumerate` by hand: killed and resumed, refused, confirmed, far designs.

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn command(space: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_executing-worker"));
    command.arg("enumerate").arg(space).args(arguments);
    command
}

fn run(space: &Path, arguments: &[&str]) -> Output {
    command(space, arguments).output().unwrap()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `n` decisions of `options` options with a mass and a donor each, and the given rules.
fn write_space(folder: &Path, n: usize, options: usize, rules: &str) -> std::path::PathBuf {
    let option = |d: usize, o: usize| {
        let mass = (o * 7 + d * 3) % 23;
        format!("{{id: o{o}, attributes: {{mass: {mass}, donor: {o}}}}}")
    };
    let decision = |d: usize| {
        let options: Vec<String> = (0..options).map(|o| option(d, o)).collect();
        format!("  - {{name: d{d}, options: [{}]}}\n", options.join(", "))
    };
    let decisions: String = (0..n).map(decision).collect();
    let text = format!("design_space: 1\nname: grid\ndecisions:\n{decisions}{rules}");
    let path = folder.join("space.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

const RULES: &str = "constraints:
  - {name: mass, sum: {attribute: mass}, max: 24}
  - {name: diversity, same: {attribute: donor}, max: 3}
  - {name: old, forbidden: {decisions: [d0, d2, d4], tuples: [[o0, o1, o2], [o3, o3, o4]]}}
";

/// What the first line of a checkpoint says.
fn unit(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap_or_default();
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Value>(line).ok().and_then(|v| v["unit"].as_u64()).unwrap_or(0)
}

/// Kills the process with SIGKILL once its checkpoint has reached `at`; the unit seen before. `None` if
/// it was done before.
fn kill_at(mut child: Child, checkpoint: &Path, at: u64) -> Option<u64> {
    let patience = Instant::now() + Duration::from_secs(120);
    loop {
        let seen = unit(checkpoint);
        if seen >= at {
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            return (!ended.success()).then_some(seen);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(Instant::now() < patience, "no checkpoint of unit {at} came");
    }
}

/// Kills `mode` at several units and compares what the resumed process gives, to the byte.
fn survives(space: &Path, folder: &Path, mode: &[&str], kills: &[u64]) {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (whole, resumed, checkpoint) =
        (folder.join("whole"), folder.join("resumed"), folder.join("checkpoint"));
    let out =
        |path: &Path| if mode[1] == "count" { Vec::new() } else { vec!["--out".to_string(), text(path)] };
    let with = |more: Vec<String>| mode.iter().map(|s| (*s).to_string()).chain(more).collect::<Vec<_>>();
    let go =
        |arguments: &[String]| answer(&run(space, &arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    let wanted = go(&with(out(&whole)));
    let mut killed = 0;
    for (at, threads) in kills.iter().zip(["1", "2", "3"].iter().cycle()) {
        let _ = std::fs::remove_file(&checkpoint);
        let keep = ["--checkpoint-seconds", "0", "--threads", threads, "--checkpoint"].map(str::to_string);
        let keep = [&keep[..], &[text(&checkpoint)]].concat();
        let arguments = with(keep);
        let child = command(space, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let Some(seen) = kill_at(child, &checkpoint, *at) else { continue };
        killed += 1;
        // Whatever moment the kill hit, a whole checkpoint is there, and none older than one seen before.
        assert!(unit(&checkpoint) >= seen, "the checkpoint went back");
        let resume = ["--threads", threads, "--resume"].map(str::to_string);
        let resume = [&resume[..], &[text(&checkpoint)], &out(&resumed)[..]].concat();
        let got = go(&with(resume));
        // Equal nodes: what lies before the checkpoint was taken from it and not walked twice or left out.
        for key in ["count", "complete", "digest", "nodes", "method"] {
            assert!(key == "nodes" && mode[1] == "best" || got[key] == wanted[key], "{key}, killed at {at}");
        }
        if mode[1] != "count" {
            assert_eq!(std::fs::read(&resumed).unwrap(), std::fs::read(&whole).unwrap(), "killed at {at}");
        }
    }
    assert!(killed > 0, "no process lived long enough to be killed");
}

#[test]
fn a_list_killed_with_signal_9_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let space = write_space(folder.path(), 7, 11, RULES);
    survives(&space, folder.path(), &["--mode", "list"], &[1, 20, 300]);
}

#[test]
fn counts_samples_and_bests_killed_with_signal_9_go_on_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let space = write_space(
        folder.path(),
        7,
        11,
        &format!("{RULES}objective: {{minimise: {{sum: {{attribute: mass}}}}}}\n"),
    );
    survives(&space, folder.path(), &["--mode", "count"], &[1, 150]);
    survives(&space, folder.path(), &["--mode", "sample", "--seed", "4"], &[2, 100]);
    survives(&space, folder.path(), &["--mode", "diverse", "--seed", "4"], &[40]);
    survives(&space, folder.path(), &["--mode", "best", "--limit", "500"], &[3, 90]);
}

#[test]
fn cfg_e6_killed_with_signal_9_goes_on_to_the_same_bytes() {
    let space = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/bench/enumeration/cfg-e6.json");
    if !space.exists() {
        println!("skipped: cfg-e6.json is not beside the project");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    survives(&space, folder.path(), &["--mode", "list"], &[30, 200]);
}

#[test]
fn a_damaged_or_missing_checkpoint_is_told_and_nothing_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let space = write_space(folder.path(), 3, 4, "");
    let path = folder.path().join("checkpoint");
    let resume = path.to_string_lossy().into_owned();
    assert_eq!(run(&space, &["--resume", &resume]).status.code(), Some(3));
    std::fs::write(&path, b"{\"version\": 1}\n").unwrap();
    let refused = run(&space, &["--resume", &resume]);
    assert_eq!(refused.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("start the search anew"));
}

#[test]
fn a_list_too_long_is_refused_with_its_exact_count_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let space = write_space(folder.path(), 12, 10, "");
    let refused = run(&space, &["--mode", "list"]);
    assert_eq!(refused.status.code(), Some(8));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in ["EX-0523", "1000000000000 designs", "6000000000000 bytes", "--limit"] {
        assert!(words.contains(part), "{part} is missing in: {words}");
    }
    let first = answer(&run(&space, &["--mode", "list", "--limit", "3"]));
    assert_eq!((first["count"].as_u64(), first["complete"].as_bool()), (Some(3), Some(false)));
    // Fewer designs than the limit of the list, but more than any disk of this age holds as JSON.
    let json = folder.path().join("all.json").to_string_lossy().into_owned();
    let refused = run(&space, &["--mode", "list", "--out", &json]);
    assert_eq!(refused.status.code(), Some(8));
    assert!(!Path::new(&json).exists());
}

#[test]
fn confirmed_counts_say_by_what_and_huge_ones_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let space = write_space(folder.path(), 25, 10, "");
    let huge = answer(&run(&space, &["--mode", "count", "--confirm"]));
    assert_eq!(huge["count"], Value::from("10000000000000000000000000"));
    assert!(huge["confirmed_by"][0].as_str().unwrap().contains("search of 16 random parts"));
    let space = write_space(folder.path(), 5, 8, RULES);
    let small = answer(&run(&space, &["--mode", "count", "--confirm"]));
    assert_eq!(small["confirmed_by"][0], "layered decision diagram");
    let unconfirmed = answer(&run(&space, &["--mode", "count", "--confirm", "--diagram-bytes-max", "1"]));
    assert_eq!(unconfirmed["count"], small["count"]);
}

#[test]
fn diverse_designs_are_feasible_and_as_far_apart_as_said() {
    let folder = tempfile::tempdir().unwrap();
    let space = write_space(folder.path(), 6, 9, RULES);
    let out = folder.path().join("far.json").to_string_lossy().into_owned();
    let far = answer(&run(&space, &["--mode", "diverse", "--limit", "6", "--seed", "1", "--out", &out]));
    let designs: Vec<Vec<&str>> = far["designs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (0..6).map(|i| d[format!("d{i}")].as_str().unwrap()).collect())
        .collect();
    assert_eq!(designs.len(), 6);
    let distance = |a: &[&str], b: &[&str]| a.iter().zip(b).filter(|(x, y)| x != y).count() as u64;
    let pairs = designs.iter().enumerate().flat_map(|(i, a)| designs[i + 1..].iter().map(|b| distance(a, b)));
    assert_eq!(pairs.min(), far["least_distance"].as_u64());
    let checked =
        Command::new(env!("CARGO_BIN_EXE_executing-worker")).arg("check").arg(&space).arg(&out).output();
    let checked: Value = serde_json::from_slice(&checked.unwrap().stdout).unwrap();
    assert_eq!(checked["infeasible"], 0);
}

/// At most two of four switches, `a` only with `b`: {}, b, c, d, ab, bc, bd, cd.
const SWITCHES: &str = "Minimize\n obj: a + b\nSubject To\n few: a + b + c + d <= 2\n after: a - b <= 0\nBinary\n a b c d\nEnd\n";

#[test]
fn a_program_is_listed_into_a_file_with_a_digest_that_knows_the_whole_set_and_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switches.lp");
    std::fs::write(&path, SWITCHES).unwrap();
    let out = folder.path().join("all.jsonl");
    let shown = out.to_str().unwrap();
    let all = answer(&run(&path, &["--out", shown]));
    assert_eq!((&all["count"], &all["written"], &all["complete"]), (&8.into(), &8.into(), &true.into()));
    let listed = std::fs::read_to_string(&out).unwrap();
    let rows: std::collections::BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(rows.len(), 8);
    for row in &rows {
        let row: Value = serde_json::from_str(row).unwrap();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| row[name].as_i64().unwrap());
        assert!(a + b + c + d <= 2 && a <= b, "{row}");
    }
    let printed = answer(&run(&path, &[]));
    assert_eq!(printed["digest"], all["digest"]);
    assert!(all["digest"].as_str().unwrap().starts_with("b3:"));
    let part = answer(&run(&path, &["--limit", "3"]));
    assert_eq!(part["digest"], Value::Null, "a part has no digest of the whole");
    std::fs::write(&path, SWITCHES.replace("<= 2", "<= 1")).unwrap();
    assert_ne!(answer(&run(&path, &[]))["digest"], all["digest"]);
}

#[test]
fn a_count_of_a_program_with_a_file_to_write_is_refused_as_usage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switches.lp");
    std::fs::write(&path, SWITCHES).unwrap();
    let out = folder.path().join("none");
    let refused = run(&path, &["--mode", "count", "--out", out.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!out.exists());
}

/// The domino tilings of a board, as a program: a switch for each place of a domino, each cell covered once.
fn write_dominoes(folder: &Path, side: usize) -> std::path::PathBuf {
    let mut cells = vec![String::new(); side * side];
    let mut switches = String::new();
    for cell in 0..side * side {
        for (other, fits) in [(cell + 1, (cell + 1) % side != 0), (cell + side, cell + side < side * side)] {
            if fits {
                switches += &format!(" d{cell}.{other}");
                cells[cell] += &format!(" + d{cell}.{other}");
                cells[other] += &format!(" + d{cell}.{other}");
            }
        }
    }
    let rows: String = cells.iter().enumerate().map(|(i, sum)| format!(" c{i}:{sum} = 1\n")).collect();
    let path = folder.join("dominoes.lp");
    std::fs::write(&path, format!("Minimize\n obj: d0.1\nSubject To\n{rows}Binary\n{switches}\nEnd\n"))
        .unwrap();
    path
}

#[test]
fn a_count_of_a_program_killed_with_signal_9_goes_on_to_the_same_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_dominoes(folder.path(), 12);
    let checkpoint = folder.path().join("checkpoint");
    let shown = checkpoint.to_str().unwrap();
    let mut resume: Vec<&str> = Vec::new();
    let mut kills = 0;
    for _ in 0..3 {
        let before = std::fs::read(&checkpoint).ok();
        let keeping = ["--mode", "count", "--checkpoint-seconds", "0", "--checkpoint", shown];
        let mut child =
            command(&path, &[&keeping[..], &resume].concat()).stdout(Stdio::null()).spawn().unwrap();
        // Until it has left another place than the one it came from.
        while std::fs::read(&checkpoint).ok() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        kills += u64::from(!child.wait().unwrap().success());
        resume = vec!["--resume", shown];
    }
    assert!(kills > 0, "no process lived long enough to be killed");
    let got = answer(&run(&path, &[&["--mode", "count"][..], &resume].concat()));
    // By the formula of Kasteleyn, and of Temperley and Fisher, for the board of twelve by twelve.
    assert_eq!((&got["count"], &got["complete"]), (&53_060_477_521_960_000u64.into(), &true.into()));
    let other = folder.path().join("switches.lp");
    std::fs::write(&other, SWITCHES).unwrap();
    let refused = run(&other, &["--mode", "count", "--resume", shown]);
    assert_eq!(refused.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another program"));
    let list = run(&path, &["--mode", "list", "--resume", shown]);
    assert_eq!(list.status.code(), Some(2), "only counts go on");
}
