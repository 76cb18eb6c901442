//! Why the results of two runs differ, in sentences: inputs, seed, parameters, backends.
//!
//! Rule: says only what the two runs themselves store; where that explains nothing, it says so.

use serde_json::Value;
use std::collections::BTreeMap;

/// What `qaoa_result.json` says of where its shots came from; a difference here explains different results.
const SHOTS_FROM: [&str; 10] = [
    "source",
    "backend",
    "simulated",
    "calibration",
    "encoding",
    "shots",
    "seed",
    "layers",
    "optimiser",
    "fallback",
];

/// The differences of two runs that explain others, from `differences` as `compare` has them and both runs'
/// `qaoa_result.json` where there is one.
pub fn why(differences: &[Value], first: Option<&Value>, second: Option<&Value>) -> Vec<String> {
    let mut why = Vec::new();
    let mut results = 0;
    for difference in differences {
        let name = difference["name"].as_str().unwrap_or_default();
        match name.split_once(' ') {
            Some(("input", input)) => why.push(format!("the input {input} is another")),
            Some(("parameter", parameter)) => why.push(format!(
                "{parameter} is {} in the first and {} in the second",
                said(&difference["first"]),
                said(&difference["second"])
            )),
            Some(("result", _)) => results += 1,
            _ if name == "workflow" => why.push("they are runs of different workflows".to_owned()),
            _ => {}
        }
    }
    if let (Some(first), Some(second)) = (first, second) {
        let told: BTreeMap<&str, (&Value, &Value)> = SHOTS_FROM
            .iter()
            .filter(|key| first.get(**key) != second.get(**key))
            .map(|key| (*key, (&first[*key], &second[*key])))
            .collect();
        for (key, (first, second)) in told {
            why.push(format!(
                "the shots: {key} is {} in the first and {} in the second",
                said(first),
                said(second)
            ));
        }
        let machine = [first, second].iter().any(|result| result["simulated"] == Value::Bool(false));
        if results > 0 && machine && first["source"] != "classical-exact" {
            why.push("a machine gave shots, which no seed repeats".to_owned());
        }
    }
    if results > 0 && why.is_empty() {
        why.push(
            "nothing that explains it: inputs, parameters, seed and backends are the same; what is left are figures of time, a deadline, or another version of the programs"
                .to_owned(),
        );
    }
    why
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "not stated".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "empty".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_in_seed_input_or_backend_explains_and_equal_causes_say_so() {
        let difference =
            |name: &str, first: Value, second: Value| json!({"name": name, "first": first, "second": second});
        let result = difference("result qaoa_result.json", json!("b3:1"), json!("b3:2"));
        let seeds = [difference("parameter seed", json!(1), json!(2)), result.clone()];
        assert_eq!(why(&seeds, None, None), ["seed is 1 in the first and 2 in the second"]);
        let input = [difference("input costs", json!("b3:1"), Value::Null)];
        assert_eq!(why(&input, None, None), ["the input costs is another"]);
        let (aer, fell) = (
            json!({"source": "aer", "simulated": true, "fallback": []}),
            json!({"source": "simulator", "simulated": true, "fallback": [{"backend": "aer", "reason": "r"}]}),
        );
        let told = why(std::slice::from_ref(&result), Some(&aer), Some(&fell)).join("\n");
        assert!(told.contains("source is aer in the first and simulator in the second"), "{told}");
        assert!(told.contains("fallback is empty"), "{told}");
        let machine = json!({"source": "braket", "simulated": false});
        let told = why(std::slice::from_ref(&result), Some(&machine), Some(&machine));
        assert_eq!(told, ["a machine gave shots, which no seed repeats"]);
        assert!(why(&[result], Some(&aer), Some(&aer))[0].contains("nothing that explains it"));
        assert!(why(&[], Some(&aer), Some(&aer)).is_empty());
    }
}
