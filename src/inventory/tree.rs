//! A YAML inventory: groups of `hosts`, `children` and `vars`, nested.

use std::sync::Arc;

use crate::error::{Diagnostic, Diagnostics, Source};
use crate::vars::{Layer, files, layer_of};
use crate::yaml::Yaml;

use super::sources::Definition;
use super::{Inventory, constructed, groups, range};

/// Aliases can repeat a group within a group without end; no inventory has this many.
const MAX_GROUPS: usize = 100_000;
const MAX_DEPTH: usize = 100;

const SECTIONS: [&str; 3] = ["hosts", "children", "vars"];

/// Adds what `source` says to the inventory, and notes every error in it.
pub(super) fn read(inventory: &mut Inventory, source: &Arc<Source>, errors: &mut Diagnostics) {
    let Some(Some(root)) = errors.catch(files::document(source)) else { return };
    read_root(inventory, (source, &root), errors);
}

/// Adds what the root of `source` says to the inventory, and notes every error in it.
pub(super) fn read_root(inventory: &mut Inventory, (source, root): (&Arc<Source>, &Yaml), errors: &mut Diagnostics) {
    if root.get("plugin").is_some_and(|plugin| constructed::is_meant(&plugin.key())) {
        return constructed::read(inventory, (root, source.path.parent()), errors);
    }
    let mut reader = Reader { inventory, source, errors, groups: 0, depth: 0 };
    if let Some(plugin) = root.get("plugin") {
        let name = plugin.key();
        let error = Diagnostic::new(format!("the inventory plugin `{name}` is not supported")).at(&plugin.place);
        let hint = "save what it finds: `ansible-inventory --list --yaml -i SOURCE > hosts.yml`";
        return reader.errors.push(error.hint(hint));
    }
    match root.as_map() {
        Some(map) => map.iter().for_each(|(name, body)| reader.group(name, body)),
        None if root.is_null() => {}
        None => {
            let message = format!("an inventory is a mapping of groups, not {}", root.kind());
            reader.errors.push(Diagnostic::new(message).at(&root.place).hint("it begins with `all:`"));
        }
    }
}

struct Reader<'r> {
    inventory: &'r mut Inventory,
    source: &'r Arc<Source>,
    errors: &'r mut Diagnostics,
    groups: usize,
    depth: usize,
}

impl Reader<'_> {
    fn group(&mut self, name: &Yaml, body: &Yaml) {
        self.groups += 1;
        if self.groups >= MAX_GROUPS {
            let error = Diagnostic::new(format!("more than {MAX_GROUPS} groups in one file")).at(&name.place);
            return self.errors.push(error);
        }
        if self.depth == MAX_DEPTH {
            let error = Diagnostic::new(format!("groups are nested deeper than {MAX_DEPTH}")).at(&name.place);
            return self.errors.push(error);
        }
        let group = name.key();
        self.inventory.add_group(&group);
        let Some(sections) = self.mapping(body, &format!("group `{group}`"), "it has `hosts`, `children` and `vars`")
        else {
            return;
        };
        for (section, content) in sections {
            let title = format!("`{}` of group `{group}`", section.key());
            match section.as_str() {
                Some("vars") => {
                    self.mapping(content, &title, "write each variable as `name: value`");
                    let set = groups::set_group_vars(self.inventory, &group, layer_of(content));
                    self.errors.catch(set);
                }
                Some("children") => self.children(&group, &title, content),
                Some("hosts") => self.hosts(&group, &title, content),
                _ => {
                    let error = Diagnostic::new(format!("group `{group}` has no section `{}`", section.key()));
                    let hint = "a group has `hosts`, `children` and `vars`";
                    self.errors.push(error.at(&section.place).hint(hint).suggest(&section.key(), SECTIONS));
                }
            }
        }
    }

    fn children(&mut self, group: &str, title: &str, content: &Yaml) {
        if let Some(name) = content.as_str() {
            return self.child(group, content, name.into());
        }
        for (name, body) in self.mapping(content, title, "write each group as a key: `web:`").unwrap_or(&[]) {
            if self.groups < MAX_GROUPS {
                self.depth += 1;
                self.group(name, body);
                self.depth -= 1;
                self.child(group, name, name.key());
            }
        }
    }

    fn child(&mut self, group: &str, at: &Yaml, name: String) {
        self.errors.catch(self.inventory.add_child(group, &name).map_err(|error| error.or_at(&at.place)));
    }

    fn hosts(&mut self, group: &str, title: &str, content: &Yaml) {
        if content.as_str().is_some() {
            return self.host(group, content, Layer::new());
        }
        for (name, vars) in self.mapping(content, title, "write each host as a key: `web1:`").unwrap_or(&[]) {
            let title = format!("host `{}`", name.key());
            if self.mapping(vars, &title, "write each variable as `name: value`").is_some() {
                self.host(group, name, layer_of(vars));
            }
        }
    }

    fn host(&mut self, group: &str, name: &Yaml, vars: Layer) {
        let expanded = range::expand(&name.key()).map_err(|error| Diagnostic::new(error).at(&name.place));
        if let Some((names, port)) = self.errors.catch(expanded) {
            let definition = Definition { group, port, path: Some(&self.source.path), vars: &vars };
            definition.add(self.inventory, names, &name.place);
        }
    }

    /// Returns the entries of a mapping or of nothing; notes the error of anything else.
    fn mapping<'y>(&mut self, node: &'y Yaml, title: &str, hint: &str) -> Option<&'y [(Yaml, Yaml)]> {
        if node.is_null() {
            return Some(&[]);
        }
        if node.as_map().is_none() {
            let error = Diagnostic::new(format!("{title} is a mapping, not {}", node.kind()));
            self.errors.push(error.at(&node.place).hint(hint));
        }
        node.as_map()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::vars::Var;

    use super::*;

    fn read_text(text: &str) -> Result<Inventory, String> {
        let source = Arc::new(Source { path: "hosts.yml".into(), text: text.into() });
        let mut inventory = Inventory::default();
        let mut errors = Diagnostics::default();
        read(&mut inventory, &source, &mut errors);
        inventory.settle();
        errors.or(inventory).map_err(|errors| errors.to_string())
    }

    fn vars(layer: &Layer) -> String {
        let pairs = layer.iter().map(|(name, var)| match var {
            Var::Written(node) => format!("{name}={}", node.to_value()),
            other => panic!("{other:?}"),
        });
        pairs.collect::<Vec<_>>().join(" ")
    }

    const EXAMPLE: &str = "\
all:
  hosts:
    lone:
  vars: {domain: example.com, spam: yes}
  children:
    mail:
      children:
        old:
          hosts:
            mx[01:02].example.com:2222: {ansible_user: root}
        new:
          hosts: mx9
      vars:
        ansible_group_priority: 5
db:
  hosts:
    mx9: {x: 1}
";

    #[test]
    fn groups_nest_and_hosts_are_ranges() {
        let inventory = read_text(EXAMPLE).unwrap();
        let all: Vec<_> = inventory.members("all").into_iter().collect();
        assert_eq!(all, ["lone", "mx9", "mx01.example.com", "mx02.example.com"]);
        assert_eq!(
            inventory.members("mail").into_iter().collect::<Vec<_>>(),
            ["mx01.example.com", "mx02.example.com", "mx9"]
        );
        assert_eq!(vars(&inventory.hosts["mx02.example.com"].vars), r#"ansible_port=2222 ansible_user="root""#);
        assert_eq!(vars(&inventory.groups["all"].vars), r#"domain="example.com" spam=true"#);
        assert_eq!(inventory.groups["mail"].priority, 5);
        assert_eq!(inventory.memberships()["mx9"], ["all", "db", "mail", "new"]);
    }

    #[test]
    fn all_errors_are_shown_at_once_with_their_places() {
        let text = "all:\n  host:\n    a:\n  hosts: [a, b]\n  children:\n    web:\n      hosts:\n        w[3:1]:\n        w1: x\n      vars: 5\n    all:\n";
        let expected = "\
error: group `all` has no section `host`
 --> hosts.yml:2:3
  |
2 |   host:
  |   ^^^^
  |
  = hint: did you mean `hosts`?

error: `hosts` of group `all` is a mapping, not a list
 --> hosts.yml:4:10
  |
4 |   hosts: [a, b]
  |          ^^^
  |
  = hint: write each host as a key: `web1:`

error: bad host range `[3:1]`: it begins after its end
 --> hosts.yml:8:9
  |
8 |         w[3:1]:
  |         ^^^

error: host `w1` is a mapping, not text
 --> hosts.yml:9:13
  |
9 |         w1: x
  |             ^
  |
  = hint: write each variable as `name: value`

error: `vars` of group `web` is a mapping, not a number
  --> hosts.yml:10:13
   |
10 |       vars: 5
   |             ^
   |
   = hint: write each variable as `name: value`

error: group `all` cannot be its own child
  --> hosts.yml:11:5
   |
11 |     all:
   |     ^^^
   |
   = hint: remove one of the two, so that the groups form no loop";
        assert_eq!(read_text(text).unwrap_err(), expected);
    }

    #[test]
    fn a_plugin_and_a_list_are_refused() {
        let error = read_text("plugin: aws_ec2\n").unwrap_err();
        assert!(
            error.starts_with("error: the inventory plugin `aws_ec2` is not supported\n --> hosts.yml:1:9"),
            "{error}"
        );
        let error = read_text("- a\n").unwrap_err();
        assert!(
            error.starts_with("error: an inventory is a mapping of groups, not a list\n --> hosts.yml:1:1"),
            "{error}"
        );
    }

    #[test]
    fn aliases_that_multiply_groups_end() {
        let mut text = String::from("g0: &g0 {hosts: {h: }}\n");
        for level in 1..20 {
            let below = level - 1;
            text += &format!("g{level}: &g{level} {{children: {{a{level}: *g{below}, b{level}: *g{below}}}}}\n");
        }
        let error = read_text(&text).unwrap_err();
        assert!(error.contains("more than 100000 groups"), "{error}");
    }

    #[test]
    fn aliases_that_nest_without_end_are_refused() {
        let mut text = String::from("all:\n  vars:\n    g0: &g0 {}\n");
        for level in 1..150 {
            text += &format!("    g{level}: &g{level} {{children: {{a: *g{}}}}}\n", level - 1);
        }
        let error = read_text(&(text + "deep: *g149\n")).unwrap_err();
        assert!(error.contains("groups are nested deeper than 100"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r"[a-c0-2\[\]{}:&*!', \n-]{0,60}") {
            let _ = read_text(&text);
        }

        #[test]
        fn no_mutation_panics(at in 0..EXAMPLE.len(), length in 0_usize..9, new in r"[\[\]{}:&*!' \n-]{0,3}") {
            let text = format!("{}{new}{}", &EXAMPLE[..at], &EXAMPLE[(at + length).min(EXAMPLE.len())..]);
            let _ = read_text(&text);
        }
    }
}
