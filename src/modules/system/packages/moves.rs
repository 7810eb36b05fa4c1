//! Packages that one command moves together: a state each, and one way there and back.

use crate::change::{Back, Change};
use crate::transport::Command;

/// What becomes of one package, as its probe tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub name: String,
    pub before: String,
    pub after: String,
}

/// What moves them all: the commands there, and the commands back for those of which `can` says so.
pub struct Ways<'a> {
    pub by: Vec<Command>,
    pub back: Vec<Command>,
    pub can: &'a (dyn Fn(&Move) -> bool + Sync),
}

/// Returns the changes; the first has the commands for all, and the last that can be taken back has the way back. `named` says
/// what the state of a package is called, and which command prints it.
pub fn changes(moves: &[Move], named: impl Fn(&str) -> (String, Command), ways: Ways<'_>) -> Vec<Change> {
    let Ways { mut by, mut back, can } = ways;
    let last = moves.iter().rposition(can);
    let change = |(index, one): (usize, &Move)| {
        let (what, probe) = named(&one.name);
        let texts = (one.before.clone(), one.after.clone());
        let change = Change::state(what, probe, texts, std::mem::take(&mut by))?;
        let back = match can(one) {
            true if Some(index) == last => Back::By(std::mem::take(&mut back)),
            true => Back::By(Vec::new()),
            false => Back::None,
        };
        Some(change.taken_back(back))
    };
    moves.iter().enumerate().filter_map(change).collect()
}
