//! Every kind of mistake in a design-space file is found, named by its code, at its place.
#![allow(clippy::unwrap_used)] // a test that cannot go on should say where

use solvers::enumeration::{DesignSet, Mode, Options, Quiet, enumerate, feasible_set_digest};
use solvers::problem::Problem;
use solvers::recheck::{recheck, violations};
use solvers::space::{self, CODES, Decimal, DesignSpace, Rule};
use std::collections::BTreeSet;

const HEAD: &str = "design_space: 1\nname: t\ndecisions:\n  - name: wing\n    options:\n      - {id: a, attributes: {mass: 1.5, donor: 1, kind: H}}\n      - {id: b, attributes: {mass: 2, donor: 2}}\n  - name: body\n    options: [{id: a, attributes: {mass: 3, noise: 1}}, {id: c, attributes: {mass: -1}}]\n";

fn small() -> DesignSpace {
    space::read(include_str!("data/small.yaml"), "small.yaml").unwrap()
}

fn problems(text: &str) -> Vec<Problem> {
    match space::read(text, "t.yaml") {
        Ok(space) => panic!("it was read: {space:?}"),
        Err(all) => all,
    }
}

/// The problem of one constraint put under [`HEAD`], which ends with line 9.
fn of(constraint: &str) -> Vec<(String, u32, u32)> {
    let text = format!("{HEAD}constraints:\n  - {constraint}\n");
    problems(&text).into_iter().map(|p| (p.code, p.line, p.column)).collect()
}

#[test]
fn each_wrong_constraint_gives_its_code_at_its_place() {
    let mut wrong = Vec::new();
    for (constraint, code, column) in [
        ("{name: x, sum: {attribute: mass}}", "EX-0315", 5),
        ("{name: x, sum: {attribute: mass}, max: 1, mim: 2}", "EX-0304", 47),
        ("{name: x, sum: {attribute: mass}, max: 1, max: 2}", "EX-0305", 47),
        ("{name: x, sum: {attribute: mass}, max: one}", "EX-0311", 44),
        ("{name: x, sum: {attribute: mass}, max: .nan}", "EX-0312", 44),
        ("{name: x, sum: {attribute: mass}, max: 99999999999999999999}", "EX-0311", 44),
        ("{name: x, sum: {attribute: mass}, min: 2, max: 1}", "EX-0316", 39),
        ("{name: x, sum: {attribute: mas}, max: 1}", "EX-0319", 32),
        ("{name: x, sum: {attribute: noise, decisions: [body]}, max: 1}", "EX-0317", 32),
        ("{name: x, sum: {attribute: kind, missing: 0}, max: 1}", "EX-0318", 32),
        ("{name: x, sum: {attribute: mass, decisions: []}, max: 1}", "EX-0307", 49),
        ("{name: x, sum: {attribute: mass, decisions: [wing, wing]}, max: 1}", "EX-0308", 56),
        ("{name: x, sum: {attribute: mass, decisions: [wings]}, max: 1}", "EX-0309", 50),
        ("{name: x, sum: [mass], max: 1}", "EX-0302", 20),
        ("{name: x}", "EX-0314", 5),
        ("{name: x, sum: {attribute: mass}, same: {attribute: donor}, max: 1}", "EX-0314", 5),
        ("{name: x, same: {attribute: donor}}", "EX-0315", 5),
        ("{name: x, same: {attribute: donor}, max: 1.5}", "EX-0320", 46),
        ("{name: x, distinct: {attribute: donor}, min: 3, max: 2}", "EX-0316", 45),
        ("{name: x, allowed: {decisions: [wing, body], tuples: [[a]]}}", "EX-0313", 59),
        ("{name: x, allowed: {decisions: [wing, body], tuples: [[a, z]]}}", "EX-0310", 63),
        ("{name: x, forbidden: {decisions: [wing, body], tuples: []}, min: 1}", "EX-0321", 65),
        ("{name: x, if: {decision: wing, in: [a]}}", "EX-0303", 5),
        ("{name: x, if: {decision: wing, in: [a, a]}, then: {decision: body, in: [a]}}", "EX-0308", 44),
        ("{name: x, each: {attribute: mass}, missing: 0, min: 1}", "EX-0302", 49),
        ("{name: x, each: {attribute: mass}, equals: 1, min: 1}", "EX-0321", 40),
        ("{name: x, linear: [], max: 1}", "EX-0307", 23),
        ("{name: x, linear: [{attribute: mass}, {attribute: mass}], max: 1}", "EX-0308", 55),
        ("{name: x, ratio: {of: mass}, min: 1}", "EX-0303", 22),
        ("{name: x, sum: {attribute: mass, missing: 1}, missing: 2, max: 1}", "EX-0305", 51),
        ("{sum: {attribute: mass}, max: 1}", "EX-0303", 5),
        ("{name: '', sum: {attribute: mass}, max: 1}", "EX-0323", 12),
        ("{name: x, sum: {attribute: mass}, max: 9000000000000000000}", "EX-0324", 1),
    ] {
        let found = of(constraint);
        if found != vec![(code.to_string(), 11, column)] {
            wrong.push(format!("{constraint}: wanted {code} at {column}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_files_give_their_code() {
    let long = "x".repeat(300);
    let many: Vec<String> = (0..1025).map(|i| format!("{{id: o{i}}}")).collect();
    let mut wrong = Vec::new();
    for (text, code, line) in [
        ("".to_string(), "EX-0300", 1),
        ("design_space: [".to_string(), "EX-0300", 1),
        (HEAD.replace("design_space: 1", "design_space: 2"), "EX-0306", 1),
        (HEAD.replace("design_space: 1", "design_space: '1'"), "EX-0306", 1),
        (HEAD.replace("name: t", "nam: t"), "EX-0303", 1),
        ("design_space: 1\nname: t\ndecisions: []\n".to_string(), "EX-0307", 3),
        ("design_space: 1\nname: t\ndecisions: [{name: w, options: []}]\n".to_string(), "EX-0307", 3),
        (HEAD.replace("id: b", "id: a"), "EX-0308", 7),
        (HEAD.replace("name: body", "name: wing"), "EX-0308", 8),
        (HEAD.replace("id: b", &format!("id: {long}")), "EX-0301", 7),
        (HEAD.replace("mass: 2,", "mass: .inf,"), "EX-0312", 7),
        (HEAD.replace("mass: 2,", "mass: [2],"), "EX-0302", 7),
        (HEAD.replace("mass: 2,", "mass: 2, mass: 3,"), "EX-0305", 7),
        (format!("{HEAD}objective: {{minimise: {{sum: {{attribute: noise}}}}}}\n"), "EX-0317", 10),
        (format!("{HEAD}objective: {{}}\n"), "EX-0314", 10),
        (
            format!(
                "design_space: 1\nname: t\ndecisions:\n  - {{name: w, options: [{}]}}\n",
                many.join(", ")
            ),
            "EX-0301",
            4,
        ),
    ] {
        let found = problems(&text);
        if !found.iter().any(|p| p.code == code && p.line == line) {
            wrong.push(format!("{code} line {line} is not in {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = format!(
        "{}extra: 1\nconstraints:\n  - {{name: x, sum: {{attribute: mas}}, max: 1}}\n  - {{name: x, allowed: {{decisions: [wing, tail], tuples: [[a, a], [q, a]]}}}}\n  - {{name: y, same: {{attribute: donor}}, max: -1}}\n",
        HEAD.replace("id: c, attributes: {mass: -1}", "id: c, atributes: {mass: -1}")
    );
    let all = problems(&text);
    let codes: Vec<&str> = all.iter().map(|p| p.code.as_str()).collect();
    for code in ["EX-0304", "EX-0319", "EX-0308", "EX-0309", "EX-0320"] {
        assert!(codes.contains(&code), "{code} is not among {codes:?}");
    }
    assert!(all.is_sorted_by_key(|p| (p.line, p.column)));
    assert!(all.iter().any(|p| p.help.contains("did you mean `attributes`")));
    let known: BTreeSet<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert!(codes.iter().all(|c| known.contains(c)));
    assert!(all[0].to_string().starts_with("t.yaml:9:"), "{}", all[0]);
}

#[test]
fn a_thousand_problems_are_cut_off_with_a_word() {
    let wrong: String = (0..1000).map(|i| format!("  - {{name: c{i}, bad: 1}}\n")).collect();
    let all = problems(&format!("{HEAD}constraints:\n{wrong}"));
    assert_eq!(all.len(), space::PROBLEMS_MAX + 1);
    assert_eq!(all.last().map(|p| p.code.as_str()), Some("EX-0322"));
}

#[test]
fn json_and_yaml_of_the_same_space_are_the_same() {
    let yaml = space::read("design_space: 1\nname: t\ndecisions:\n  - name: wing\n    options:\n      - {id: a, attributes: {mass: 1.50, ok: true, kind: H}}\n", "y").unwrap();
    let json = space::read("{\"design_space\":1,\"name\":\"t\",\"decisions\":[{\"name\":\"wing\",\"options\":[{\"id\":\"a\",\"attributes\":{\"mass\":1.5,\"ok\":true,\"kind\":\"H\"}}]}]}", "j").unwrap();
    assert_eq!(yaml, json);
    assert_eq!(yaml.digest(), json.digest());
    let other = space::read("design_space: 1\nname: t\ndecisions:\n  - name: wing\n    options:\n      - {id: a, attributes: {mass: 1.51, ok: true, kind: H}}\n", "y").unwrap();
    assert_ne!(yaml.digest(), other.digest());
}

#[test]
fn numbers_keep_every_digit() {
    let space = space::read(&HEAD.replace("mass: 1.5,", "mass: 0.100000000000000001,"), "t").unwrap();
    let mass = &space.decisions[0].options[0].attributes["mass"];
    let exact = Decimal { mantissa: 100_000_000_000_000_001, scale: 18 };
    assert_eq!(*mass, solvers::space::Attribute::Number(exact));
    // One unit in the last place decides.
    let bounded = |max: &str| {
        let text = format!(
            "{}constraints:\n  - {{name: m, sum: {{attribute: mass, decisions: [wing]}}, max: {max}}}\n",
            HEAD.replace("mass: 1.5,", "mass: 0.1000000000000001,")
        );
        let space = space::read(&text, "t").unwrap();
        enumerate(&space, &Options::new(Mode::Count), &mut Quiet).unwrap().count
    };
    assert_eq!((bounded("0.1000000000000001"), bounded("0.1000000000000000")), (2, 0));
}

#[test]
fn the_small_space_has_the_designs_that_a_hand_finds() {
    let space = small();
    assert_eq!(space.constraints.len(), 11);
    assert!(matches!(&space.constraints[7].rule, Rule::Distinct { min: Some(1), max: Some(2), .. }));
    let listed = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
    let names: Vec<String> = listed
        .designs
        .iter()
        .map(|d| {
            d.iter()
                .zip(&space.decisions)
                .map(|(&o, x)| x.options[usize::from(o)].id.clone())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    // For example w1 b1 e3: thrust 8 over mass 6 is less than 1.5; w3 b2 e4: balance 5 - 4 is less than 1.5.
    assert_eq!(names, ["w1 b1 e4", "w2 b1 e1", "w2 b2 e1", "w2 b2 e3", "w3 b1 e3", "w3 b2 e3"]);
    for design in &listed.designs.iter().collect::<Vec<_>>() {
        assert!(violations(&space, design).is_empty());
    }
    assert_eq!(space.design_json(&[0, 0, 3]).to_string(), r#"{"body":"b1","engine":"e4","wing":"w1"}"#);
    assert_eq!(space.design_from_json(&space.design_json(&[0, 0, 3])), Ok(vec![0, 0, 3]));
}

#[test]
fn a_compact_file_comes_back_and_damage_or_another_space_is_seen() {
    let space = small();
    let listed = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
    let file = listed.designs.to_file(&space);
    let back = DesignSet::from_file(&space, &file).unwrap();
    assert_eq!(back, listed.designs);
    assert_eq!(feasible_set_digest(&space, &back), feasible_set_digest(&space, &listed.designs));
    assert!(recheck(&space, back.iter()).clean());
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        assert!(DesignSet::from_file(&space, &damaged).is_err(), "byte {at}");
        assert!(DesignSet::from_file(&space, &file[..at]).is_err(), "cut at {at}");
    }
    let mut other = space.clone();
    other.name = "other".into();
    assert!(DesignSet::from_file(&other, &file).is_err());
}

#[test]
fn the_small_set_has_a_digest_that_does_not_change() {
    let text = include_str!("data/cfg-e2.json");
    let space = space::read(text, "cfg-e2.json").unwrap();
    let listed = enumerate(&space, &Options::new(Mode::List), &mut Quiet).unwrap();
    assert_eq!(listed.count, 390);
    assert!(recheck(&space, listed.designs.iter()).clean());
    let best = enumerate(&space, &Options::new(Mode::Best { k: 100 }), &mut Quiet).unwrap();
    assert_eq!(best.best.iter().map(|r| r.objective.mantissa).sum::<i64>(), 316_972);
    let digest = feasible_set_digest(&space, &listed.designs).to_hex().to_string();
    assert_eq!(&digest[..16], "31bfa8bfb9d79e20");
}
