//! What a role says of its arguments, as the task that validates them before the role's own.

use std::path::Path;

use serde_json::json;

use crate::error::{Diagnostic, Place};
use crate::vars::Var;
use crate::yaml::{Data, Yaml};

use super::files::first_file;
use super::reader::Reader;
use super::role::Wanted;
use super::{Keywords, Step, Task};

impl Reader<'_> {
    /// Returns the task that validates the arguments of a role's entry point, where the role has a specification of it:
    /// in `meta/argument_specs.yml`, or else in `meta/main.yml`.
    pub fn validation(&mut self, wanted: &Wanted, path: &Path, inside: &Keywords) -> Option<Step> {
        let role = inside.role.as_ref().filter(|_| !wanted.from.unvalidated)?;
        let entry = wanted.from.tasks.as_deref().unwrap_or("main");
        let options = self.entry_points(path, &wanted.place)?.get(entry).filter(|entry| !entry.is_null()).cloned()?;
        if options.as_map().is_none() {
            let message = format!("what `argument_specs` has of `{entry}` should be a mapping, not {}", options.kind());
            self.errors.push(Diagnostic::new(message).at(&options.place));
            return None;
        }
        let place = &wanted.place;
        let short = options.get("short_description").map(|text| format!(" - {}", text.key())).unwrap_or_default();
        let name = format!("Validating arguments against arg spec '{entry}'{short}");
        let context = json!({
            "type": "role",
            "name": role.name.rsplit('.').next(),
            "argument_spec_name": entry,
            "path": role.path.to_string_lossy(),
        });
        let map = |pairs| Yaml { data: Data::Map(pairs).into(), ..Yaml::text_at("", place) };
        let given = wanted.params.iter().filter_map(|(name, var)| match var {
            Var::Written(node) => Some((Yaml::text_at(name, place), node.clone())),
            Var::Known(value) => Some((Yaml::text_at(name, place), Yaml::literal(value, place))),
            Var::Unknown(_) => None,
        });
        let arguments = [
            ("argument_spec", options.get("options").cloned().unwrap_or_else(|| map(Vec::new()))),
            ("provided_arguments", map(given.collect())),
            ("validate_args_context", Yaml::literal(&context, place)),
        ];
        let mut keywords = Keywords { name: Some(Yaml::text_at(name, place)), ..inside.clone() };
        keywords.tags.push("always".into());
        let arguments = arguments.into_iter().map(|(name, value)| (Yaml::text_at(name, place), value)).collect();
        let task = Task { arguments, ..Task::implied("validate_argument_spec", place, keywords) };
        Some(Step::Task(task.into()))
    }

    fn entry_points(&mut self, path: &Path, place: &Place) -> Option<Yaml> {
        let meta = path.join("meta");
        let named = |name: &str| [".yml", ".yaml", ".json", ""].map(|ending| meta.join(format!("{name}{ending}")));
        let file = first_file(named("argument_specs")).or_else(|| first_file(named("main")))?;
        let document = self.loader.files.document(&file).map_err(|error| error.or_at(place));
        let specs = self.errors.catch(document)??.get("argument_specs").filter(|specs| !specs.is_null()).cloned()?;
        if specs.as_map().is_none() {
            let message = format!("`argument_specs` should be a mapping, not {}", specs.kind());
            self.errors.push(Diagnostic::new(message).at(&specs.place));
        }
        Some(specs)
    }
}
