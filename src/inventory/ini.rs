//! An INI inventory: host lines, `[group]`, `[group:children]` and `[group:vars]`.

use std::sync::Arc;

use crate::error::{Diagnostic, Diagnostics, Place, Source};
use crate::vars::{Layer, Var};

use super::sources::Definition;
use super::{Inventory, literal, range};

/// Adds what `source` says to the inventory, and notes every error in it.
pub(super) fn read(inventory: &mut Inventory, source: &Arc<Source>, errors: &mut Diagnostics) {
    let mut reader = Reader { inventory, source, group: "ungrouped".into(), kind: Kind::Hosts, pending: Vec::new() };
    for (index, line) in source.text.lines().enumerate() {
        errors.catch(reader.line(index as u32 + 1, line));
    }
    reader.finish(errors);
}

#[derive(Clone, Copy)]
enum Kind {
    Hosts,
    Children,
    Vars,
    /// After a bad header: its lines would only bring more errors.
    Skipped,
}

struct Reader<'r> {
    inventory: &'r mut Inventory,
    source: &'r Arc<Source>,
    /// The section that the lines belong to.
    group: String,
    kind: Kind,
    /// What waits for its group to be defined further down.
    pending: Vec<Pending>,
}

enum Pending {
    Child { parent: String, child: String, place: Place },
    Vars { group: String, place: Place, vars: Vec<(String, Var)> },
}

impl Reader<'_> {
    fn line(&mut self, number: u32, line: &str) -> Result<(), Diagnostic> {
        let text = line.trim();
        let indent = line.chars().take_while(|character| character.is_whitespace()).count();
        let place = Place::new(self.source, number, indent as u32 + 1);
        if text.is_empty() || text.starts_with(['#', ';']) {
            return Ok(());
        }
        if let Some((name, kind)) = section(text) {
            return self.start(name, kind, &place);
        }
        if text.starts_with('[') && (text.ends_with(']') || !text.contains(']')) {
            self.kind = Kind::Skipped;
            let hint = "a section is `[group]`, `[group:children]` or `[group:vars]`, without spaces";
            return Err(Diagnostic::new(format!("`{text}` is not a section")).at(&place).hint(hint));
        }
        match self.kind {
            Kind::Hosts => self.hosts(text, &place),
            Kind::Children => self.child(text, place),
            Kind::Vars => self.variable(text, &place),
            Kind::Skipped => Ok(()),
        }
    }

    fn start(&mut self, name: &str, kind: &str, place: &Place) -> Result<(), Diagnostic> {
        self.kind = match kind {
            "hosts" => Kind::Hosts,
            "children" => Kind::Children,
            "vars" => Kind::Vars,
            _ => {
                self.kind = Kind::Skipped;
                let error = Diagnostic::new(format!("`{kind}` is not a kind of section")).at(place);
                return Err(error.hint("a section is `[group]`, `[group:children]` or `[group:vars]`"));
            }
        };
        self.group = name.into();
        if matches!(self.kind, Kind::Vars) {
            self.pending.push(Pending::Vars { group: name.into(), place: place.clone(), vars: Vec::new() });
        } else {
            self.inventory.add_group(name);
        }
        Ok(())
    }

    fn hosts(&mut self, text: &str, place: &Place) -> Result<(), Diagnostic> {
        let words = words(text, place)?;
        let Some((host, variables)) = words.split_first() else { return Ok(()) };
        if host.text == "---" {
            let error = Diagnostic::new("`---` is not a host").at(place);
            return Err(error.hint("this looks like YAML; name the file `.yml`"));
        }
        let (names, port) = range::expand(&host.text).map_err(|error| Diagnostic::new(error).at(place))?;
        let mut vars = Layer::new();
        for word in variables {
            let Some((name, value)) = word.text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                let error = Diagnostic::new(format!("`{}` is not `key=value`", word.text)).at(&word.place);
                return Err(error.hint("one host a line, its variables after it: `web1 ansible_port=2222`"));
            };
            let value_place =
                Place { column: word.place.column + name.chars().count() as u32 + 1, ..word.place.clone() };
            vars.insert(name.into(), Var::Written(literal::value(value, &value_place)));
        }
        if let Some(cut) = words.last().and_then(|word| word.cut.as_ref()) {
            self.inventory.warnings.push(format!("{cut}: `#` starts a comment here; quote the value to keep it"));
        }
        let definition = Definition { group: &self.group, port, path: Some(&self.source.path), vars: &vars };
        definition.add(self.inventory, names, place);
        Ok(())
    }

    fn child(&mut self, text: &str, place: Place) -> Result<(), Diagnostic> {
        let name = text.split('#').next().unwrap_or("").trim_end();
        if name.contains(|character: char| character.is_whitespace() || "[]:".contains(character)) {
            let error = Diagnostic::new(format!("`{text}` is not a group name")).at(&place);
            return Err(error.hint("one group a line, nothing after it"));
        }
        self.pending.push(Pending::Child { parent: self.group.clone(), child: name.into(), place });
        Ok(())
    }

    fn variable(&mut self, text: &str, place: &Place) -> Result<(), Diagnostic> {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let error = Diagnostic::new(format!("`{text}` is not `key=value`")).at(place);
            return Err(error.hint(format!("each line of `[{}:vars]` sets one variable", self.group)));
        };
        let before = text.len() - value.trim_start().len();
        let column = place.column + text[..before].chars().count() as u32;
        let value = literal::value(value.trim(), &Place { column, ..place.clone() });
        if let Some(Pending::Vars { vars, .. }) = self.pending.last_mut() {
            vars.push((name.trim().into(), Var::Written(value)));
        }
        Ok(())
    }

    /// Settles what waited: children and `[group:vars]` may stand before the group that they name.
    fn finish(self, errors: &mut Diagnostics) {
        let Reader { inventory, pending, .. } = self;
        for waiting in pending {
            match waiting {
                Pending::Child { parent, child, place } if inventory.groups.contains_key(&child) => {
                    errors.catch(inventory.add_child(&parent, &child).map_err(|error| error.or_at(&place)));
                }
                Pending::Child { parent, child, place } => {
                    let error = Diagnostic::new(format!("`[{parent}:children]` names the undefined group `{child}`"));
                    let groups = inventory.groups.keys().map(String::as_str).filter(|group| *group != parent);
                    let hint = format!("add a `[{child}]` section, even if it is empty");
                    errors.push(error.at(&place).hint(hint).suggest(&child, groups));
                }
                Pending::Vars { group, vars, .. } if inventory.groups.contains_key(&group) => {
                    errors.catch(
                        vars.into_iter().try_for_each(|(name, value)| inventory.set_group_var(&group, name, value)),
                    );
                }
                Pending::Vars { group, place, .. } => {
                    let error = Diagnostic::new(format!("`[{group}:vars]` is for the undefined group `{group}`"));
                    let groups = inventory.groups.keys().map(String::as_str);
                    errors.push(error.at(&place).hint(format!("add a `[{group}]` section")).suggest(&group, groups));
                }
            }
        }
    }
}

/// Reads `[NAME]` or `[NAME:KIND]`, with a comment after it.
fn section(text: &str) -> Option<(&str, &str)> {
    let (inner, after) = text.strip_prefix('[')?.split_once(']')?;
    let (name, kind) = inner.split_once(':').unwrap_or((inner, "hosts"));
    let blank = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
    let after = after.trim_start();
    let word = kind.chars().all(|character| character.is_alphanumeric() || character == '_');
    // What follows makes it a host: `[1:3].example.com`.
    let alone = after.is_empty() || after.starts_with('#');
    (!blank(name) && !blank(kind) && word && alone).then_some((name, kind))
}

struct Word {
    text: String,
    place: Place,
    /// Where a `#` inside this word cut it short.
    cut: Option<Place>,
}

/// Splits a host line as Python's `shlex.split(line, comments=True)` does: a `#` starts a comment even inside a word.
fn words(text: &str, place: &Place) -> Result<Vec<Word>, Diagnostic> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    let mut characters = text.chars().zip(place.column..);
    let at = |column| Place { column, ..place.clone() };
    while let Some((character, column)) = characters.next() {
        if character.is_whitespace() {
            inside = false;
            continue;
        }
        if character == '#' {
            if let Some(word) = words.last_mut().filter(|_| inside) {
                word.cut = Some(at(column));
            }
            break;
        }
        if !inside {
            words.push(Word { text: String::new(), place: at(column), cut: None });
            inside = true;
        }
        let Some(word) = words.last_mut() else { break };
        match character {
            '"' | '\'' => {
                let unclosed = || Diagnostic::new(format!("this `{character}` is never closed")).at(&at(column));
                loop {
                    match characters.next().ok_or_else(unclosed)?.0 {
                        next if next == character => break,
                        '\\' if character == '"' => {
                            let next = characters.next().ok_or_else(unclosed)?.0;
                            if !matches!(next, '"' | '\\') {
                                word.text.push('\\');
                            }
                            word.text.push(next);
                        }
                        next => word.text.push(next),
                    }
                }
            }
            '\\' => {
                let nothing = || Diagnostic::new("nothing follows this `\\`").at(&at(column));
                word.text.push(characters.next().ok_or_else(nothing)?.0);
            }
            _ => word.text.push(character),
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str) -> Result<Inventory, String> {
        let source = Arc::new(Source { path: "hosts".into(), text: text.into() });
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

    const EXAMPLE: &str = r#"
# a comment
; another
lone ansible_user=root

[old]   # with a comment
mx1.example.com:2222 ansible_user=admin spool="/var/q mail" on=True n=5 quoted='"5"' # the first
mx[2:3].example.com

[new]
mx9 list="['a', 'b']"

[mail:children]
old
new

[mail:vars]
domain = example.com
mode=0644
count=7
text='7'
"#;

    #[test]
    fn hosts_groups_children_and_typed_variables_are_read() {
        let inventory = read_text(EXAMPLE).unwrap();
        let names: Vec<_> = inventory.hosts.keys().collect();
        assert_eq!(names, ["lone", "mx1.example.com", "mx2.example.com", "mx3.example.com", "mx9"]);
        assert_eq!(
            vars(&inventory.hosts["mx1.example.com"].vars),
            r#"ansible_port=2222 ansible_user="admin" spool="/var/q mail" on=true n=5 quoted="5""#
        );
        assert_eq!(vars(&inventory.hosts["mx9"].vars), r#"list=["a","b"]"#);
        assert_eq!(vars(&inventory.groups["mail"].vars), r#"domain="example.com" mode="0644" count=7 text="7""#);
        let mail: Vec<_> = inventory.members("mail").into_iter().collect();
        assert_eq!(mail, ["mx1.example.com", "mx2.example.com", "mx3.example.com", "mx9"]);
        assert_eq!(inventory.members("ungrouped").into_iter().collect::<Vec<_>>(), ["lone"]);
        assert_eq!(inventory.members("all").len(), 5);
    }

    #[test]
    fn a_value_knows_its_place() {
        let inventory = read_text("[a]\n  h  x=1 y=\"2 3\"\n[a:vars]\n z =  4\n").unwrap();
        let place = |layer: &Layer, name: &str| match &layer[name] {
            Var::Written(node) => node.place.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(place(&inventory.hosts["h"].vars, "x"), "hosts:2:8");
        assert_eq!(place(&inventory.hosts["h"].vars, "y"), "hosts:2:12");
        assert_eq!(place(&inventory.groups["a"].vars, "z"), "hosts:4:7");
    }

    #[test]
    fn a_comment_that_cuts_a_value_is_a_warning() {
        let inventory = read_text("h ansible_password=ab#cd\n").unwrap();
        assert_eq!(vars(&inventory.hosts["h"].vars), r#"ansible_password="ab""#);
        assert_eq!(inventory.warnings, ["hosts:1:22: `#` starts a comment here; quote the value to keep it"]);
    }

    #[test]
    fn a_group_may_be_defined_after_it_is_named() {
        let inventory = read_text("[all:children]\na\n[a:vars]\nx=1\n[a]\nh\n").unwrap();
        assert_eq!(vars(&inventory.groups["a"].vars), "x=1");
        assert_eq!(inventory.members("all").len(), 1);
    }

    #[test]
    fn all_errors_are_shown_at_once_with_their_places() {
        let text = "h1 x =5\nh[5:1]\nh2 x=\"1\n[db:childs]\nskipped it\n[a:children]\nwbe\nx y\n[web]\n[b:vars]\nnothing\n[a b]\nskipped it\n[web\n";
        let expected = "\
error: `x` is not `key=value`
 --> hosts:1:4
  |
1 | h1 x =5
  |    ^
  |
  = hint: one host a line, its variables after it: `web1 ansible_port=2222`

error: bad host range `[5:1]`: it begins after its end
 --> hosts:2:1
  |
2 | h[5:1]
  | ^^^

error: this `\"` is never closed
 --> hosts:3:6
  |
3 | h2 x=\"1
  |      ^^

error: `childs` is not a kind of section
 --> hosts:4:1
  |
4 | [db:childs]
  | ^^^
  |
  = hint: a section is `[group]`, `[group:children]` or `[group:vars]`

error: `x y` is not a group name
 --> hosts:8:1
  |
8 | x y
  | ^
  |
  = hint: one group a line, nothing after it

error: `nothing` is not `key=value`
  --> hosts:11:1
   |
11 | nothing
   | ^^^^^^^
   |
   = hint: each line of `[b:vars]` sets one variable

error: `[a b]` is not a section
  --> hosts:12:1
   |
12 | [a b]
   | ^^
   |
   = hint: a section is `[group]`, `[group:children]` or `[group:vars]`, without spaces

error: `[web` is not a section
  --> hosts:14:1
   |
14 | [web
   | ^^^^
   |
   = hint: a section is `[group]`, `[group:children]` or `[group:vars]`, without spaces

error: `[a:children]` names the undefined group `wbe`
 --> hosts:7:1
  |
7 | wbe
  | ^^^
  |
  = hint: did you mean `web`?

error: `[b:vars]` is for the undefined group `b`
  --> hosts:10:1
   |
10 | [b:vars]
   | ^^
   |
   = hint: did you mean `a`?";
        assert_eq!(read_text(text).unwrap_err(), expected);
    }

    #[test]
    fn a_group_loop_is_refused_at_the_line_that_closes_it() {
        let error = read_text("[a:children]\nb\n[b:children]\na\n").unwrap_err();
        let message = "error: group `a` cannot be a child of `b`, which is already below `a`\n --> hosts:4:1\n";
        assert!(error.starts_with(message), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[a-c0-2\[\]:=#;'"\\ \nvarschilden_ä]{0,80}"#) {
            let _ = read_text(&text);
        }

        #[test]
        fn no_mutation_panics(at in 0..EXAMPLE.len(), length in 0_usize..9, new in r#"[\[\]:='"\\ #\n]{0,3}"#) {
            let text = format!("{}{new}{}", &EXAMPLE[..at], &EXAMPLE[(at + length).min(EXAMPLE.len())..]);
            let _ = read_text(&text);
        }
    }
}
