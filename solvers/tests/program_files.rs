//! Program files that must not be believed: cut off, packed, not exact, not bounded.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

use solvers::problem::Problem;
use solvers::programs::{Program, count, read};

fn written(name: &str, text: impl AsRef<[u8]>) -> Result<Program, Vec<Problem>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    read(&path)
}

#[track_caller]
fn refused(name: &str, text: impl AsRef<[u8]>, code: &str, word: &str) -> Problem {
    let all = match written(name, text) {
        Ok(program) => panic!("it was read: {program:?}"),
        Err(all) => all,
    };
    let found = all.iter().find(|p| p.code == code && p.message.contains(word));
    let found = found.unwrap_or_else(|| panic!("{code} with `{word}` is not among {all:#?}"));
    assert!(!found.help.is_empty() && found.file.ends_with(name), "{found:?}");
    found.clone()
}

const MPS: &str = "* a comment\nNAME t\nROWS\n N obj\n L r0\n G r1\nCOLUMNS\n M1 'MARKER' 'INTORG'\n x obj 1 r0 2\n y obj 1\n y r0 3 r1 1\n M2 'MARKER' 'INTEND'\nRHS\n RHS r0 4 r1 1\nBOUNDS\n UP bnd x 3\n UP bnd y 3\nENDATA\n";
const LP: &str = "\\ a comment\nminimize\n obj: x + y\nsubject to\n r0: 2 x + 3 y <= 4\n r1: y >= 1\nbounds\n x <= 3\n y <= 3\ngeneral\n x y\nend\n";

#[test]
fn every_prefix_of_a_file_is_refused() {
    for (name, text, last) in [("t.mps", MPS, "ENDATA"), ("t.lp", LP, "end")] {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(count(&written(name, text).unwrap(), 0, &mut || false).unwrap().count, 1);
        for n in 0..lines.len() {
            let found = refused(name, lines[..n].join("\n"), "EX-0337", "");
            assert_eq!(found.line as usize, if n < 2 { 0 } else { n }, "{found}");
            assert!(n < 2 || found.message.contains(last));
        }
        // In the middle of a line as well, unless only the last line break is missing.
        for n in 0..text.len() - 1 {
            refused(name, &text[..n], "EX-0337", "");
        }
        assert!(written(name, &text[..text.len() - 1]).is_ok());
        assert!(written(name, text.replace('\n', "\r\n")).is_ok(), "{name} from Windows");
    }
}

#[test]
fn empty_packed_and_misnamed_files_are_refused() {
    refused("e.mps", "", "EX-0337", "empty");
    refused("e.lp", "\n \n\\ only words\n", "EX-0337", "empty");
    refused("t.mps.gz", [0x1f, 0x8b, 8, 0], "EX-0335", "packed");
    refused("t.mps", [0x1f, 0x8b, 8, 0], "EX-0335", "packed");
    refused("t.txt", MPS, "EX-0335", ".txt");
    refused("t", MPS, "EX-0335", "");
    refused("t.lp", MPS, "EX-0337", "ENDATA");
    refused("t.mps", [b'N', 0xff, b'\n'], "EX-0330", "UTF-8");
    refused("t.mps", "words\nENDATA\n", "EX-0330", "");
    let absent = read(std::path::Path::new("absent/none.mps")).unwrap_err();
    assert_eq!(absent[0].code, "EX-0330");
}

#[test]
fn unbounded_and_continuous_columns_are_refused_by_name() {
    refused("t.mps", MPS.replace(" UP bnd x 3\n", " PL bnd x\n"), "EX-0332", "`x`");
    // By the rule of the form an integer column without bounds is a switch.
    assert_eq!(written("t.mps", MPS.replace(" UP bnd x 3\n", "")).unwrap().columns[0].upper, 1);
    refused("t.lp", LP.replace(" x <= 3\n", ""), "EX-0332", "`x`");
    refused("t.lp", LP.replace(" x <= 3\n", " -inf <= x <= 3\n"), "EX-0332", "`x`");
    refused("t.lp", LP.replace(" x <= 3\n", " 0 <= x <= 3000000\n"), "EX-0332", "3000000");
    refused("t.lp", LP.replace(" x <= 3\n", " 0.2 <= x <= 0.7\n"), "EX-0332", "no whole number");
    refused("t.lp", LP.replace(" x y\n", " y\n"), "EX-0331", "`x`");
    refused("t.lp", LP.replace("obj: x + y", "obj: x + y + [ x^2 ] / 2"), "EX-0334", "quadratic");
    refused(
        "t.lp",
        LP.replace("general\n", "semi-continuous\n x\ngeneral\n").replace(" x y\n", " y\n"),
        "EX-0334",
        "`x`",
    );
}

#[test]
fn numbers_that_are_not_exact_are_refused_and_decimals_are_scaled() {
    for number in ["0.33333333333333", "0.1000000001", "1e-10", "1e-11"] {
        refused("t.mps", MPS.replace("r0 2", &format!("r0 {number}")), "EX-0333", "r0");
        refused("t.lp", LP.replace("2 x", &format!("{number} x")), "EX-0333", "r0");
    }
    // HiGHS drops what is smaller, with a warning.
    refused("t.mps", MPS.replace("r0 2", "r0 1e-13"), "EX-0338", "");
    refused("t.mps", MPS.replace("obj 1 r0", "obj nan r0"), "EX-0333", "nan");
    refused("t.mps", MPS.replace("r0 2", "r0 -NaN"), "EX-0333", "NaN");
    assert!(written("t.lp", LP.replace("x + y", "nan x + y")).is_err());
    for huge in ["inf", "1e30", "1e400"] {
        assert!(written("t.mps", MPS.replace("obj 1 r0", &format!("obj {huge} r0"))).is_err(), "{huge}");
        assert!(written("t.mps", MPS.replace("r0 2", &format!("r0 {huge}"))).is_err(), "{huge}");
    }
    refused("t.mps", MPS.replace("r0 2", "r0 20000000000000000"), "EX-0330", "");
    refused("t.mps", MPS.replace("r0 2", "r0 9007199254740993"), "EX-0333", "16 digits");
    refused("t.mps", MPS.replace("r0 2", "r0 0.10000000000000000001"), "EX-0333", "20 digits");
    refused("t.lp", LP.replace("2 x", "2.0000000000000001 x"), "EX-0333", "17 digits");
    refused("t.mps", MPS.replace("r0 2", "r0 12345678.123456789"), "EX-0333", "17 digits");
    let big = MPS.replace("r0 2", "r0 900000000000000").replace("UP bnd x 3", "UP bnd x 1000000");
    refused("t.mps", big, "EX-0339", "r0");
    let program = written("t.mps", MPS.replace("r0 2", "r0 0.1").replace("r0 4", "r0 3.25")).unwrap();
    assert_eq!(program.rows[0].terms, vec![(0, 10), (1, 300)]);
    assert_eq!((program.rows[0].upper, program.rows[0].name.as_str()), (Some(325), "r0"));
    // y = 1, then 0.1 x <= 0.25.
    assert_eq!(count(&program, 0, &mut || false).unwrap().count, 3);
}

#[test]
fn what_highs_would_mend_in_silence_is_refused() {
    // The same entry twice, an unknown row, an unknown column in the bounds.
    assert!(written("t.mps", MPS.replace(" y obj 1\n", " y obj 1\n y r0 5\n")).is_err());
    assert!(written("t.mps", MPS.replace("r1 1\n M2", "r9 1\n M2")).is_err());
    assert!(written("t.mps", MPS.replace("UP bnd x 3", "UP bnd z 3")).is_err());
    // A negative upper bound without a lower one: parsers disagree on what it means.
    assert!(written("t.mps", MPS.replace("UP bnd x 3", "UP bnd x -3")).is_err());
    // Text after the end is not part of the program.
    assert!(written("t.mps", MPS.replace("ENDATA\n", "ENDATA\n x r0 2\n")).is_err());
}
