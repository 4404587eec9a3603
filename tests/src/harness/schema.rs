//! Documents against the schemas that are published.

use serde_json::Value;

/// # Panics
/// The document does not fit, and where; or the schema takes anything.
pub fn fits(what: &str, schema: &str, document: &Value) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(schema).expect("the schema");
    let validator = jsonschema::validator_for(&schema).expect("a schema that can be used");
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
    assert!(!validator.is_valid(&Value::Null));
    validator
}
