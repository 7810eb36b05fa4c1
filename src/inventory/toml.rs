//! A TOML inventory: groups as tables, with `hosts`, `vars` and a list of `children`.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Diagnostic, Diagnostics, Place, Source};
use crate::yaml::{Data, Yaml};

use super::{Inventory, tree};

/// Adds what `source` says to the inventory, and notes every error in it.
pub(super) fn read(inventory: &mut Inventory, source: &Arc<Source>, errors: &mut Diagnostics) {
    let text = Text(source);
    let root = match DeTable::parse(&source.text) {
        Ok(root) => root,
        Err(error) => {
            let place = text.place(error.span().unwrap_or(0..0));
            return errors.push(Diagnostic::new(format!("bad TOML: {}", error.message())).at(&place));
        }
    };
    let groups = root.get_ref().iter().map(|(name, group)| (text.name(name), text.group(group))).collect();
    let root = Yaml { data: Data::Map(groups).into(), ..Yaml::text_at("", &text.place(0..0)) };
    tree::read_root(inventory, (source, &root), errors);
}

struct Text<'s>(&'s Arc<Source>);

impl Text<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let before = self.0.text.get(..span.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place::new(self.0, before.matches('\n').count() as u32 + 1, line.chars().count() as u32 + 1)
    }

    fn name(&self, name: &Spanned<std::borrow::Cow<'_, str>>) -> Yaml {
        Yaml::text_at(name.get_ref().as_ref(), &self.place(name.span()))
    }

    /// Returns a group as one of a YAML inventory, where children are the keys of a mapping.
    fn group(&self, group: &Spanned<DeValue<'_>>) -> Yaml {
        let DeValue::Table(sections) = group.get_ref() else { return self.node(group) };
        let section = |(name, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            let value = match value.get_ref() {
                DeValue::Array(children) if name.get_ref() == "children" => {
                    let nothing = |child: &Yaml| Yaml { data: Data::Null.into(), ..child.clone() };
                    let children = children.iter().map(|child| self.node(child));
                    let children = children.map(|child| (child.clone(), nothing(&child))).collect();
                    Yaml { data: Data::Map(children).into(), ..self.node(value) }
                }
                _ => self.node(value),
            };
            (self.name(name), value)
        };
        let sections = sections.iter().map(section).collect();
        Yaml { data: Data::Map(sections).into(), ..Yaml::text_at("", &self.place(group.span())) }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Yaml {
        let data = match value.get_ref() {
            DeValue::String(text) => Data::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
                Ok(number) => Data::Int(number),
                Err(_) => Data::Text(number.as_str().into()),
            },
            DeValue::Float(number) => Data::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Data::Bool(*value),
            DeValue::Datetime(time) => Data::Text(time.to_string()),
            DeValue::Array(items) => Data::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => {
                Data::Map(table.iter().map(|(name, value)| (self.name(name), self.node(value))).collect())
            }
        };
        Yaml { data: data.into(), ..Yaml::text_at("", &self.place(value.span())) }
    }
}

#[cfg(test)]
mod tests {
    use crate::vars::Var;

    use super::*;

    fn load(text: &str) -> Result<Inventory, String> {
        let source = Arc::new(Source { path: "hosts.toml".into(), text: text.into() });
        let (mut inventory, mut errors) = (Inventory::default(), Diagnostics::default());
        read(&mut inventory, &source, &mut errors);
        inventory.settle();
        errors.or(inventory).map_err(|errors| errors.to_string())
    }

    #[test]
    fn groups_are_tables_and_hosts_may_be_ranges() {
        let text = "[all.vars]\nspam = false\n\n[mail]\nchildren = [\"old\", \"new\"]\nvars = { port = 0x19, names = [\"a\", \"b\"] }\n\n\
                    [old.hosts]\n\"mx[1:2]\" = {}\nlone = { ansible_port = 2222, rate = 1.5 }\n\n[new.hosts.mx9]\nuser = \"{{ admin }}\"\n";
        let inventory = load(text).unwrap();
        assert_eq!(inventory.members("mail").into_iter().collect::<Vec<_>>(), ["mx1", "mx2", "lone", "mx9"]);
        let shown = |vars: &crate::vars::Layer| {
            let shown = vars.iter().map(|(name, var)| match var {
                Var::Written(node) => format!("{name}={}", node.to_value()),
                other => format!("{other:?}"),
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&inventory.groups["mail"].vars), r#"port=25 names=["a","b"]"#);
        assert_eq!(shown(&inventory.hosts["lone"].vars), "ansible_port=2222 rate=1.5");
        assert_eq!(shown(&inventory.hosts["mx9"].vars), r#"user="{{ admin }}""#);
    }

    #[test]
    fn errors_have_their_places() {
        let error = load("[web]\nhosts = { a = {}\n").unwrap_err();
        assert!(error.starts_with("error: bad TOML: ") && error.contains("hosts.toml:2:"), "{error}");
        let error = load("[web]\nhost = {}\n").unwrap_err();
        assert!(error.contains("group `web` has no section `host`\n --> hosts.toml:2:1"), "{error}");
        let error = load("[web.hosts]\na = 5\n").unwrap_err();
        assert!(error.contains("host `a` is a mapping, not a number\n --> hosts.toml:2:5"), "{error}");
    }
}
