//! Which steps of a task do the same: to the letter, or but for the name of the host or the item that each is for.

use crate::change::{Diff, Line};
use crate::run::plan::Step;

/// Stands for a name. Nothing that is shown has it: diffs are printable.
const NAME: &str = "\0";

/// What two steps that do the same have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct Fold {
    lines: Vec<Line>,
}

impl Fold {
    /// `None`: what is shown of the step is not all of it.
    pub fn of(step: &Step, diffs: &[Diff]) -> Option<Fold> {
        let lines = || diffs.iter().flat_map(|diff| &diff.lines);
        let cut = |line: &Line| matches!(line, Line::Header(text) if text.starts_with("... and "));
        (!lines().any(cut)).then(|| Fold { lines: lines().map(|line| folded(line, step)).collect() })
    }
}

fn folded(line: &Line, step: &Step) -> Line {
    let names = [step.item.as_deref(), Some(step.machine())].into_iter().flatten().filter(|name| !name.is_empty());
    let name = |text: &str| names.clone().fold(text.to_string(), |text, name| text.replace(name, NAME));
    match line {
        // The size of a file that has the name in it depends on the name; where the lines do not tell the whole
        // content, they have its size and digest themselves.
        Line::Header(text) => Line::Header(name(without_size(text))),
        Line::Context(text) => Line::Context(name(text)),
        Line::Removed(text) => Line::Removed(name(text)),
        Line::Added(text) => Line::Added(name(text)),
        Line::Warning(text) => Line::Warning(name(text)),
    }
}

/// Takes `, 12 bytes` off the line of a path.
fn without_size(text: &str) -> &str {
    let Some((rest, size)) = text.rsplit_once(", ") else { return text };
    let number = size.strip_suffix(" bytes").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let path = text.starts_with("--- ") || text.starts_with("+++ ");
    if number && path { rest } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(item: &str, lines: &[Line]) -> Option<Fold> {
        let step = Step { host: "mx".into(), item: Some(item.into()), ..Step::default() };
        Fold::of(&step, &[Diff { lines: lines.to_vec() }])
    }

    fn lines(domain: &str, size: usize, text: &str) -> Vec<Line> {
        vec![Line::Header(format!("+++ /d/{domain}  -rw------- 0600 a:a, {size} bytes")), Line::Added(text.into())]
    }

    #[test]
    fn what_differs_in_the_items_name_alone_is_the_same() {
        let one = fold("a.example", &lines("a.example", 12, "for a.example"));
        assert_eq!(one, fold("bb.example", &lines("bb.example", 13, "for bb.example")));
        assert_ne!(one, fold("bb.example", &lines("bb.example", 12, "for a.example")));
        assert_ne!(one, fold("bb.example", &lines("bb.example", 13, "For bb.example")));
    }

    #[test]
    fn a_size_that_nothing_else_tells_makes_a_difference_and_what_is_cut_is_never_the_same() {
        let hidden = |size: usize| [Line::Added(format!("content: {size} bytes (hidden)"))];
        assert_ne!(fold("a", &hidden(7)), fold("b", &hidden(8)));
        let mail = |size: usize| [Line::Header(format!("mail from old: 1 mailbox, 3 messages, {size} bytes"))];
        assert_ne!(fold("a", &mail(7)), fold("b", &mail(8)));
        assert_eq!(fold("a", &[Line::Header("... and 7 more lines".into())]), None);
    }
}
