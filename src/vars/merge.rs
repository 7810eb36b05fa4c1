//! `hash_behaviour = merge`: a mapping of one level and that of a stronger one are merged, key by key.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::yaml::{Data, Yaml};

use super::{Layer, Var};

/// Returns the variables that several of `layers`, the strongest first, have as mappings, merged.
pub(super) fn merged(layers: &[Arc<Layer>]) -> Layer {
    let mut found: HashMap<&str, Option<Var>> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut strongest: HashMap<&str, &Var> = HashMap::new();
    for (name, var) in layers.iter().rev().flat_map(|layer| layer.iter()) {
        // What lies below something that is no mapping is replaced.
        let weaker = found.get(name.as_str()).cloned().flatten();
        let weaker = weaker.or_else(|| strongest.get(name.as_str()).map(|var| Var::clone(var)));
        if let Some(both) = weaker.and_then(|weaker| over(&weaker, var)) {
            found.insert(name, Some(both));
            order.push(name);
        } else {
            found.insert(name, None);
        }
        strongest.insert(name, var);
    }
    let mut merged = Layer::new();
    for name in order {
        merged.extend(found.remove(name).flatten().map(|var| (name.to_string(), var)));
    }
    merged
}

/// Merges a mapping over a weaker one; nothing where one of them is none.
fn over(weaker: &Var, stronger: &Var) -> Option<Var> {
    match (weaker, stronger) {
        (Var::Known(Value::Object(weaker)), Var::Known(Value::Object(stronger))) => {
            Some(Var::Known(Value::Object(values(weaker.clone(), stronger))))
        }
        (Var::Written(weaker), Var::Written(stronger)) => nodes(weaker, stronger).map(Var::Written),
        (Var::Written(weaker), Var::Known(stronger)) => {
            nodes(weaker, &Yaml::literal(stronger, &weaker.place)).map(Var::Written)
        }
        (Var::Known(weaker), Var::Written(stronger)) => {
            nodes(&Yaml::literal(weaker, &stronger.place), stronger).map(Var::Written)
        }
        _ => None,
    }
}

fn nodes(weaker: &Yaml, stronger: &Yaml) -> Option<Yaml> {
    let mut pairs = weaker.as_map()?.to_vec();
    for (name, value) in stronger.as_map()? {
        match pairs.iter_mut().find(|(known, _)| known.key() == name.key()) {
            Some((_, known)) => *known = nodes(known, value).unwrap_or_else(|| value.clone()),
            None => pairs.push((name.clone(), value.clone())),
        }
    }
    Some(Yaml { data: Data::Map(pairs).into(), ..stronger.clone() })
}

fn values(mut weaker: Map<String, Value>, stronger: &Map<String, Value>) -> Map<String, Value> {
    for (name, value) in stronger {
        let both = match (weaker.get(name), value) {
            (Some(Value::Object(weaker)), Value::Object(stronger)) => Value::Object(values(weaker.clone(), stronger)),
            _ => value.clone(),
        };
        weaker.insert(name.clone(), both);
    }
    weaker
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layer(value: Value) -> Arc<Layer> {
        Arc::new(Layer::from([("v".into(), Var::Known(value))]))
    }

    fn seen(layers: &[Value]) -> Option<Value> {
        let layers: Vec<Arc<Layer>> = layers.iter().cloned().map(layer).collect();
        match merged(&layers).get("v") {
            Some(Var::Known(value)) => Some(value.clone()),
            _ => None,
        }
    }

    #[test]
    fn mappings_are_merged_down_to_the_first_that_is_none() {
        let both = seen(&[json!({"a": {"x": 1}, "b": [1]}), json!({"a": {"x": 0, "y": 2}, "b": [2], "c": 3})]);
        assert_eq!(both, Some(json!({"a": {"x": 1, "y": 2}, "b": [1], "c": 3})));
        assert_eq!(seen(&[json!({"a": 1}), json!("text"), json!({"b": 2})]), None);
        assert_eq!(seen(&[json!("text"), json!({"b": 2}), json!({"c": 2})]), None);
        assert_eq!(seen(&[json!({"a": 1}), json!({"b": 2}), json!("text")]), Some(json!({"b": 2, "a": 1})));
        assert_eq!(seen(&[json!({"a": 1})]), None);
    }
}
