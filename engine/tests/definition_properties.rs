//! Whatever the shape: definitions without a circle load in an order, those with one are refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod definition_support;
use definition_support::*;
use engine::definition::topological_order;
use proptest::prelude::*;

/// A workflow of approvals, stage `i` needing those of `needs[i]`, written in the order of `written`.
fn text(needs: &[Vec<usize>], written: &[usize]) -> String {
    let mut text = String::from("workflow: generated\nstages:\n");
    for &stage in written {
        let names: Vec<_> = needs[stage].iter().map(|need| format!("s{need}")).collect();
        text += &format!("  - {{name: s{stage}, kind: approval, needs: [{}]}}\n", names.join(", "));
    }
    text
}

/// Dependencies that only point to lower numbers, and an order to write the stages in.
fn acyclic() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<usize>)> {
    (2usize..20).prop_flat_map(|stages| {
        let needs: Vec<_> =
            (0..stages).map(|stage| prop::collection::btree_set(0..stage.max(1), 0..=stage.min(4))).collect();
        let needs = needs.prop_map(|sets| {
            let of = |(stage, set): (usize, std::collections::BTreeSet<usize>)| {
                set.into_iter().filter(|&need| need < stage).collect()
            };
            sets.into_iter().enumerate().map(of).collect()
        });
        (needs, Just((0..stages).collect::<Vec<_>>()).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn without_a_circle_it_loads_and_every_stage_stands_behind_what_it_needs((needs, written) in acyclic()) {
        let definition = load(&text(&needs, &written), None).unwrap().definition;
        let order = topological_order(&definition).unwrap();
        prop_assert_eq!(order.len(), needs.len());
        let name = |index: u32| definition.stages[index as usize].path[1..].parse::<usize>().unwrap();
        let mut seen = vec![];
        for stage in order {
            let stage = name(stage.0);
            prop_assert!(needs[stage].iter().all(|need| seen.contains(need)));
            prop_assert!(!seen.contains(&stage));
            seen.push(stage);
        }
        let found: Vec<_> = (0u32..).take(needs.len()).map(name).collect();
        prop_assert_eq!(found, written);
    }

    #[test]
    fn with_a_circle_it_is_refused(
        (needs, written) in acyclic(),
        picks in prop::collection::btree_set(0usize..20, 1..6),
    ) {
        let mut needs = needs;
        let ring: Vec<_> = picks.into_iter().filter(|&pick| pick < needs.len()).collect();
        prop_assume!(!ring.is_empty());
        for (at, &stage) in ring.iter().enumerate() {
            let next = ring[(at + 1) % ring.len()];
            if !needs[stage].contains(&next) {
                needs[stage].push(next);
            }
        }
        let problems = load(&text(&needs, &written), None).unwrap_err();
        prop_assert!(problems.iter().all(|one| one.code == "EX-0115"), "{:?}", problems);
        prop_assert!(problems[0].line > 0);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z:\\-\\[\\]{}&*!|>'\"#, \n]{0,200}") {
        let _ = load(&text, None);
        let _ = load(&format!("workflow: w\nstages:\n  - name: a\n{text}"), None);
    }

    #[test]
    fn no_predicate_makes_the_reader_panic(text in "[a-z0-9.()\\[\\]{}<>=!&|?:+*/%\"', -]{0,60}") {
        let facts = serde_json::json!({"a": 1, "b": [1, 2], "c": "x"});
        let _ = engine::predicate::evaluate(&text, facts.as_object().unwrap());
    }
}
