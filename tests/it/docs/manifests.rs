//! Manifests for Kubernetes, held against its published schemas, and their containers' commands against the tool.

use std::ffi::OsString;
use std::fs;

use bkassoc::cli::layers::Typed;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::page::{Page, repository};

/// The manifests of a page, however many stand in one block.
fn manifests_of(page: &Page) -> Vec<Value> {
    let documents = page.blocks("yaml").flat_map(|block| {
        serde_yaml_ng::Deserializer::from_str(block)
            .map(|document| Value::deserialize(document).unwrap())
            .collect::<Vec<_>>()
    });
    documents.collect()
}

/// What is wrong with a value, and where, by a schema of the kind that Kubernetes publishes.
fn faults(
    value: &Value,
    schema: &Value,
    definitions: &Map<String, Value>,
    at: &str,
) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return faults(value, &definitions[name], definitions, at);
    }
    let is_of_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !is_of_type {
        return vec![format!("{at}: {value} is no {}", schema["type"])];
    }
    let mut found = Vec::new();
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(item, &schema["items"], definitions, &format!("{at}[{index}]")));
    }
    let Some(object) = value.as_object().filter(|_| schema["type"] == "object") else {
        return found;
    };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, inner) in object {
        let known = schema["properties"].get(name);
        match known.or(schema.get("additionalProperties").filter(|others| **others != false)) {
            Some(schema) => {
                found.extend(faults(inner, schema, definitions, &format!("{at}.{name}")));
            }
            None => found.push(format!("{at}: there is no {name}")),
        }
    }
    found
}

/// What is wrong with a value of this kind: `V1…` is Kubernetes', `Argo…` that of Argo Workflows.
fn faults_of(value: &Value, kind: &str) -> Vec<String> {
    let mut definitions = Map::new();
    for name in ["kubernetes-1.31.json", "argo-4.1.json"] {
        let text = fs::read_to_string(repository().join("tests/kubernetes").join(name)).unwrap();
        let mut schema: Value = serde_json::from_str(&text).unwrap();
        definitions.append(schema["definitions"].as_object_mut().unwrap());
    }
    faults(value, &definitions[kind], &definitions, kind)
}

/// All containers in a manifest, wherever they stand.
fn containers_of(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(containers_of).collect(),
        Value::Object(object) => {
            let mut found: Vec<_> = object.values().flat_map(containers_of).collect();
            if object.contains_key("image") {
                found.push(value);
            }
            found
        }
        _ => Vec::new(),
    }
}

fn shown() -> Vec<Value> {
    let pages =
        ["README.md", "docs/kubernetes.md"].map(|name| Page::read(&repository().join(name)));
    pages.iter().flat_map(manifests_of).collect()
}

#[test]
fn manifests_are_ones_that_kubernetes_takes() {
    let manifests: Vec<_> =
        shown().into_iter().filter(|manifest| manifest.get("apiVersion").is_some()).collect();
    assert_eq!(manifests.len(), 4);
    for manifest in &manifests {
        assert_eq!(manifest["apiVersion"], "batch/v1");
        let kind = format!("V1{}", manifest["kind"].as_str().unwrap());
        let faults = faults_of(manifest, &kind);
        assert_eq!(faults, Vec::<String>::new(), "{}", manifest["metadata"]["name"]);
    }
    let mut wrong = manifests[2].clone();
    wrong["spec"]["backoffLimitPerindex"] = 3.into();
    wrong["spec"]["completions"] = "8".into();
    wrong["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("name");
    let faults = faults_of(&wrong, "V1Job");
    assert_eq!(faults.len(), 3, "{faults:?}");
}

#[test]
fn the_workflow_is_one_that_argo_takes() {
    let specs: Vec<_> =
        shown().into_iter().filter(|spec| spec.get("entrypoint").is_some()).collect();
    let [spec] = &specs[..] else { panic!("{specs:?}") };
    assert_eq!(faults_of(spec, "ArgoWorkflowSpec"), Vec::<String>::new());
    let mut wrong = spec.clone();
    wrong["templates"][0]["steps"][0][0]["withSequence"] = serde_json::json!({"begin": "1"});
    wrong["templates"][1]["retryStrategy"]["retryPolicy"] = 3.into();
    wrong["templates"][1]["container"]["arg"] = "apply".into();
    let faults = faults_of(&wrong, "ArgoWorkflowSpec");
    assert_eq!(faults.len(), 3, "{faults:?}");
}

#[test]
fn commands_of_containers_can_be_given() {
    let manifests = shown();
    let containers: Vec<_> = manifests.iter().flat_map(containers_of).collect();
    assert_eq!(containers.len(), 5);
    for container in containers {
        let words = container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        // What Argo fills in.
        let words = words.map(|word| word.replace("{{inputs.parameters.shard}}", "3/8"));
        let words = ["bkassoc".to_owned()].into_iter().chain(words).map(OsString::from);
        if let Err(error) = Typed::parse(words) {
            panic!("{}: {error}", container["args"]);
        }
    }
}

#[test]
fn exit_codes_that_another_pod_can_mend_start_one() {
    // docs/reference.md, "Exit codes": what goes on with the same command as it is.
    let goes_on = [0, 6, 9, 10, 11, 13, 129, 130, 143];
    for manifest in shown().iter().filter(|manifest| manifest["spec"]["completions"] == 8) {
        let rules = manifest["spec"]["podFailurePolicy"]["rules"].as_array().unwrap();
        let codes =
            rules.iter().filter_map(|rule| rule["onExitCodes"]["values"].as_array()).flatten();
        let codes: Vec<_> = codes.map(|code| code.as_i64().unwrap()).collect();
        assert_eq!(codes, (1..=12).filter(|code| !goes_on.contains(code)).collect::<Vec<_>>());
        assert_eq!(manifest["spec"]["template"]["spec"]["restartPolicy"], "Never");
    }
}
