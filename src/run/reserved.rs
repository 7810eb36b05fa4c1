//! Variables with the name of a keyword or a function: Ansible warns of them, because they get in each other's way.

use std::collections::BTreeSet;

use crate::error::Place;
use crate::playbook::keywords::is_keyword;
use crate::playbook::{Play, Step};
use crate::template;
use crate::vars::{Layer, Var};

use super::{Event, Run};

impl Run {
    /// Warns of a variable that is called like something of the language.
    pub(super) fn warn_reserved(&self, name: &str, place: &Place) {
        if is_reserved(name) {
            self.send(Event::ReservedName { name: name.into(), place: place.to_string() });
        }
    }

    /// Warns of all that a play's own variables, those of its blocks and of its tasks are called.
    pub(super) fn warn_of_reserved(&self, play: &Play) {
        let mut found = BTreeSet::new();
        in_layer(&play.vars, &mut found);
        play.sections().into_iter().for_each(|section| below(section, &mut found));
        for (_, name, place) in found {
            self.send(Event::ReservedName { name, place });
        }
    }
}

/// Says whether a keyword or a function is called so.
pub fn is_reserved(name: &str) -> bool {
    name != "vars" && (template::is_function(name) || is_keyword(name))
}

/// By line, the name and where it stands.
type Found = BTreeSet<(u32, String, String)>;

fn below(steps: &[Step], found: &mut Found) {
    for step in steps {
        match step {
            Step::Task(task) => in_layer(&task.keywords.vars, found),
            Step::Block(block) => {
                for part in [&block.block, &block.rescue, &block.always] {
                    below(part, found);
                }
            }
        }
    }
}

fn in_layer(layer: &Layer, found: &mut Found) {
    for (name, var) in layer {
        if let Var::Written(node) = var
            && is_reserved(name)
        {
            found.insert((node.place.line, name.clone(), node.place.to_string()));
        }
    }
}
